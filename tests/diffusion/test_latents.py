"""Latents against diffusers and plain arithmetic."""

import pytest
import torch
from diffusers import AutoencoderKL
from torch.testing import assert_close

from idol.clip.depth import colorize_tensor
from idol.diffusion.latents import LatentCodec, LatentConfig, encode_raw
from idol.model.autoencoder import Autoencoder
from support.latent_fit import fit_latent_config


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return Autoencoder(latent_channels=4, channels=(8, 8, 8), encoder_blocks=1, decoder_blocks=1).eval()


@pytest.fixture(scope="module")
def variational():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()


def clips(b=2, f=3, size=32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    background = torch.rand(b, 3, size, size, generator=generator) * 2 - 1
    video = background[:, None].repeat(1, f, 1, 1, 1)
    video[..., 8:20, 8:20] = torch.rand(b, f, 3, 12, 12, generator=generator) * 2 - 1
    depth = torch.zeros(b, f, size, size)
    depth[..., 8:20, 8:20] = 0.7
    return video, colorize_tensor(depth), background


@pytest.fixture(scope="module", params=["none", "background"])
def codec(request, small):
    return LatentCodec(small, fit_latent_config(small, [clips(seed=s) for s in range(3)], request.param))


@pytest.mark.slow
def test_stable_diffusion_latents_are_the_distribution_mode_scaled(variational):
    codec = LatentCodec(variational, LatentConfig.stable_diffusion())
    video, depth, background = clips()
    latents = codec.encode(video, depth)
    assert latents.shape == (2, 2, 3, 4, 16, 16) and codec.downscale == 2 and codec.channels == 4
    expected = variational.encode(depth[1]).latent_dist.mode() * 0.18215
    assert_close(latents[1, 1], expected)
    assert_close(codec.encode_image(background), variational.encode(background).latent_dist.mode() * 0.18215)
    expected = variational.decode(latents[0, 0] / 0.18215).sample.clamp(-1, 1)
    assert_close(codec.decode(latents)[0, 0], expected, atol=1e-5, rtol=1e-5)


def test_stable_diffusion_latents_can_be_drawn(variational):
    codec = LatentCodec(variational, LatentConfig.stable_diffusion())
    _, _, background = clips()

    def draw():
        return codec.encode_image(background, torch.Generator().manual_seed(3))

    assert torch.equal(draw(), draw())
    expected = variational.encode(background).latent_dist.sample(torch.Generator().manual_seed(3)) * 0.18215
    assert_close(draw(), expected)


def test_fitted_latents_have_unit_mean_square(codec, small):
    streams, images = [], []
    for seed in range(3):
        video, depth, background = clips(seed=seed)
        images.append(codec.encode_image(background))
        streams.append(codec.encode(video, depth, images[-1]))
    z = torch.cat(streams).permute(1, 3, 0, 2, 4, 5).flatten(2)  # m c everything else
    assert_close(z.square().mean(2), torch.ones(2, 4), atol=1e-3, rtol=1e-3)
    if codec.config.latent_reference == "none":
        assert_close(z.mean(2), torch.zeros(2, 4), atol=1e-4, rtol=0)
    images = torch.cat(images).transpose(0, 1).flatten(1)
    assert_close(images.std(1, correction=0), torch.ones(4), atol=1e-3, rtol=1e-3)


def test_fit_is_the_plain_mean_and_deviation(small):
    config = fit_latent_config(small, [clips(seed=s) for s in range(2)])
    raw = (
        torch.cat([small.encode(clips(seed=s)[0].flatten(0, 1)) for s in range(2)]).transpose(0, 1).flatten(1)
    )
    assert_close(torch.tensor(config.scale[0]), raw.std(1, correction=0), atol=1e-5, rtol=1e-4)
    assert_close(torch.tensor(config.shift[0]), raw.mean(1), atol=1e-5, rtol=1e-4)


def test_decode_inverts_the_normalization(codec, small):
    video, depth, background = clips()
    image = codec.encode_image(background)
    latents = codec.encode(video, depth, image)
    raw = torch.stack([small.encode(x.flatten(0, 1)).unflatten(0, (2, 3)) for x in (video, depth)], 1)
    assert_close(codec.denormalize(latents, image), raw, atol=1e-5, rtol=1e-4)
    expected = small.decode(raw.flatten(0, 2)).clamp(-1, 1).unflatten(0, (2, 2, 3))
    for chunk in (1, 5, 100):
        assert_close(codec.decode(latents, image, chunk), expected, atol=1e-4, rtol=1e-3)


def test_an_empty_scene_is_zero_when_the_background_is_the_reference(small):
    config = fit_latent_config(small, [clips()], "background")
    codec = LatentCodec(small, config)
    _, _, background = clips()
    image = codec.encode_image(background)
    still = background[:, None].repeat(1, 2, 1, 1, 1)
    nothing = colorize_tensor(torch.zeros(2, 2, 32, 32))
    latents = codec.encode(still, nothing, image)
    # the scales of this untrained autoencoder are small: rounding of its convolutions shows
    assert latents.abs().max() < 1e-4


def test_a_background_per_frame_equals_the_frames_apart(codec):
    video, depth, _ = clips()
    moving = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    image = codec.encode_image(moving)
    assert image.shape == (2, 3, 4, 2, 2)
    together = codec.encode(video, depth, image)
    for f in range(3):
        apart = codec.encode(video[:, f : f + 1], depth[:, f : f + 1], image[:, f])
        assert_close(together[:, :, f : f + 1], apart, atol=1e-5, rtol=1e-4)


def test_video_alone_is_the_first_stream(codec):
    video, depth, background = clips()
    image = codec.encode_image(background)
    alone = codec.encode(video, None, image)
    assert alone.shape[1] == 1
    assert_close(alone, codec.encode(video, depth, image)[:, :1])
    assert codec.decode(alone, image).shape == (2, 1, 3, 3, 32, 32)


def test_a_reference_without_background_is_refused(small):
    codec = LatentCodec(small, fit_latent_config(small, [clips()], "background"))
    video, depth, _ = clips()
    with pytest.raises(ValueError, match="background"):
        codec.encode(video, depth)


def test_impossible_normalizations_are_refused(small):
    one = (1.0, 1.0)
    with pytest.raises(ValueError, match="channels"):
        LatentConfig((one,), ((0.0,),), one, one)
    with pytest.raises(ValueError, match="positive"):
        LatentConfig(((1.0, 0.0),), (one,), one, one)
    with pytest.raises(ValueError, match="none"):
        fit_latent_config(small, [])


def test_raw_latents_follow_the_autoencoders_dtype(small):
    import copy

    half = copy.deepcopy(small).bfloat16()
    _, _, background = clips()
    latents = encode_raw(half, background)
    assert latents.dtype == torch.float32
    assert (latents - encode_raw(small, background)).abs().max() < 0.05


@pytest.fixture(scope="module")
def stacked():
    torch.manual_seed(1)
    return Autoencoder(4, channels=(8, 8), encoder_blocks=1, decoder_blocks=1, in_channels=6).eval()


def test_a_latent_of_six_channels_holds_a_frame_and_its_depth(stacked):
    """LDM3D: one stream of latents, two of images."""
    codec = LatentCodec(stacked, LatentConfig.stable_diffusion(1))
    video, depth, background = clips()
    latents = codec.encode(video, depth)
    assert latents.shape == (2, 1, 3, 4, 4, 4) and codec.stacked
    raw = stacked.encode(torch.cat([video, depth], 2).flatten(0, 1))
    assert_close(latents[:, 0].flatten(0, 1), raw * 0.18215)
    images = codec.decode(latents)
    both = stacked.decode(raw).clamp(-1, 1).unflatten(0, (2, 3))
    assert_close(images[:, 0], both[:, :, :3], atol=1e-5, rtol=1e-5)
    assert_close(images[:, 1], both[:, :, 3:], atol=1e-5, rtol=1e-5)
    nobody = colorize_tensor(torch.zeros(2, 32, 32))
    assert_close(codec.encode_image(background), stacked.encode(torch.cat([background, nobody], 1)) * 0.18215)
    assert codec.reconstruct(background).shape == background.shape
    with pytest.raises(ValueError, match="six channels"):
        codec.encode(video, None)


@pytest.mark.parametrize("latent_reference", ["background", "draft"])
def test_of_stacked_latents_what_they_are_counted_from_is_zero(stacked, latent_reference):
    ones = (1.5,) * 4
    codec = LatentCodec(stacked, LatentConfig((ones,), ((0.0,) * 4,), ones, (0.2,) * 4, latent_reference))
    video, depth, background = clips()
    if latent_reference == "draft":
        values = torch.zeros(2, 3, 32, 32)
        values[..., 8:20, 8:20] = 0.7  # as `clips` draws it
        reference = codec.encode_draft(video, values)
    else:
        reference = codec.encode_image(background)
        video = background[:, None].repeat(1, 3, 1, 1, 1)
        depth = colorize_tensor(torch.zeros(2, 3, 32, 32))
    latents = codec.encode(video, depth, reference)
    assert_close(latents, torch.zeros_like(latents), atol=1e-5, rtol=0)
    raw = codec.denormalize(latents, reference)
    assert_close(codec.normalize(raw, reference), latents, atol=1e-5, rtol=0)
