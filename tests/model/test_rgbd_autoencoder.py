"""An autoencoder widened for depth does to frames what the original does."""

import pytest
import torch
from diffusers import AutoencoderKL
from torch.testing import assert_close

from idol.clip.depth import colorize_tensor
from idol.diffusion.latents import LatentCodec, LatentConfig
from idol.model.rgbd_autoencoder import widen_to_rgbd

SIZES = {
    "two levels": {"block_out_channels": (8, 16)},
    "four levels, no attention": {"block_out_channels": (8, 8, 8, 8), "mid_block_add_attention": False},
    "no convolution about the latents": {
        "block_out_channels": (8, 8),
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "latent_channels": 3,
        "layers_per_block": 2,
    },
}


@pytest.fixture(params=SIZES)
def vae(request):
    torch.manual_seed(0)
    sizes = SIZES[request.param]
    levels = len(sizes["block_out_channels"])
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
    }
    return AutoencoderKL(norm_num_groups=4, **blocks, **sizes).eval()


@pytest.fixture
def frames():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.slow
@torch.no_grad()
def test_whatever_the_depth_frames_are_coded_as_before(vae, frames):
    wide = widen_to_rgbd(vae)
    assert (wide.config.in_channels, wide.config.out_channels) == (6, 6)
    expected = vae.encode(frames).latent_dist.parameters
    for depth in (torch.zeros_like(frames), torch.randn_like(frames), 7 * frames.flip(-1)):
        parameters = wide.encode(torch.cat([frames, depth], 1)).latent_dist.parameters
        assert_close(parameters, expected, rtol=1e-5, atol=1e-6)
    latents = torch.randn(2, vae.config.latent_channels, *expected.shape[-2:])
    made = wide.decode(latents).sample
    assert_close(made[:, :3], vae.decode(latents).sample, rtol=1e-5, atol=1e-6)
    assert_close(made[:, 3:], made[:, :3])  # depth starts as the frame


@torch.no_grad()
def test_it_is_a_codec_of_frames_with_their_depth(vae, frames):
    """Through the interface of the diffusion stages, for one stream of latents."""
    c = vae.config.latent_channels
    config = LatentConfig(((5.5,) * c,), ((0.0,) * c,), (5.5,) * c, (0.0,) * c)
    wide, narrow = LatentCodec(widen_to_rgbd(vae), config), LatentCodec(vae, config)
    video = frames[None]
    depth = colorize_tensor(torch.rand(1, 2, 32, 32))
    assert wide.stacked and wide.downscale == narrow.downscale
    latents = wide.encode(video, depth)
    assert_close(latents, narrow.encode(video, None), rtol=1e-5, atol=1e-6)
    assert_close(wide.encode_image(frames), narrow.encode_image(frames), rtol=1e-5, atol=1e-6)
    images = wide.decode(latents)
    assert images.shape == (1, 2, 2, 3, 32, 32)
    assert_close(images[:, :1], narrow.decode(latents), rtol=1e-5, atol=1e-6)


def test_depth_reaches_every_layer_from_the_first_step(vae, frames):
    wide = widen_to_rgbd(vae)
    both = torch.cat([frames, frames.flip(-1)], 1)
    wide.decode(wide.encode(both).latent_dist.mean).sample[:, 3:].square().mean().backward()
    silent = {name for name, p in wide.named_parameters() if p.grad is None or not p.grad.abs().max()}
    assert all("attentions" in name and "to_k.bias" in name for name in silent)  # softmax forgets it
    assert wide.encoder.conv_in.weight.grad[:, 3:].abs().max() > 0


def test_it_survives_saving(vae, frames, tmp_path):
    wide = widen_to_rgbd(vae)
    wide.save_pretrained(tmp_path)
    again, info = AutoencoderKL.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.state_dict().keys() == wide.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), wide.parameters(), strict=True))


def test_the_original_is_left_as_it_is_and_widened_once(vae):
    before = {name: weight.clone() for name, weight in vae.state_dict().items()}
    wide = widen_to_rgbd(vae.half())
    assert wide.dtype == torch.float16 and wide.encoder.conv_in.weight.shape[1] == 6
    assert vae.config.in_channels == 3
    assert all(torch.equal(weight, before[name].half()) for name, weight in vae.state_dict().items())
    with pytest.raises(ValueError, match="takes 6 and gives 6"):
        widen_to_rgbd(wide)
