"""Latents and foreground tokens against transformers, diffusers and plain arithmetic."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch.testing import assert_close
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from idol.clip.depth import colorize_tensor
from idol.diffusion.latents import encode_raw
from idol.model.autoencoder import Autoencoder
from idol.model.encoders import (
    CLIPForeground,
    LatentCodec,
    LatentConfig,
    LatentForeground,
    drop_foreground,
    fit_latent_config,
)


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
    if codec.config.offset == "none":
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


def test_an_empty_scene_is_zero_under_offset_background(small):
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


def test_offset_without_background_is_refused(small):
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
def clip_model():
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=12,
    )
    return CLIPVisionModelWithProjection(config).eval()


def test_clip_tokens_are_transformers_hidden_states_projected(clip_model):
    encoder = CLIPForeground.from_clip(clip_model).eval()
    image, mask = torch.rand(2, 3, 28, 28), (torch.rand(2, 1, 28, 28) > 0.5).float()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.no_grad():
        hidden = clip_model(pixel_values=(image - mean) / std * mask).last_hidden_state
        expected = clip_model.visual_projection(clip_model.vision_model.post_layernorm(hidden))
        pooled = clip_model(pixel_values=(image - mean) / std * mask).image_embeds
        tokens = encoder(image, mask)
    assert tokens.shape == (2, 5, 12)
    assert_close(tokens, expected, atol=1e-5, rtol=1e-4)
    assert_close(tokens[:, 0], pooled, atol=1e-5, rtol=1e-4)  # the class token is CLIP's own embedding


def test_clip_image_is_resized_bicubic_without_antialiasing(clip_model):
    encoder = CLIPForeground.from_clip(clip_model).eval()
    image, mask = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    small = F.interpolate(image, (28, 28), mode="bicubic", align_corners=False).clamp(0, 1)
    assert_close(encoder(image, mask), encoder(small, torch.ones(1, 1, 28, 28)))


def test_clip_unconditional_is_a_zero_input_or_zero_tokens(clip_model):
    encoder = CLIPForeground.from_clip(clip_model).eval()
    image = torch.rand(2, 3, 28, 28)
    tokens = encoder(image, torch.ones(2, 1, 28, 28))
    masked_out = encoder(image, torch.zeros(2, 1, 28, 28))
    assert_close(encoder.unconditional(tokens), masked_out)
    zeros = CLIPForeground.from_clip(clip_model, unconditional="zeros")
    assert torch.equal(zeros.unconditional(tokens), torch.zeros_like(tokens))


def test_only_the_projection_of_clip_trains(clip_model):
    encoder = CLIPForeground.from_clip(clip_model)
    encoder(torch.rand(1, 3, 28, 28), torch.ones(1, 1, 28, 28)).sum().backward()
    trained = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert trained == ["projection.weight"]
    assert encoder.projection.weight.grad.abs().max() > 0


def test_clip_survives_saving(clip_model, tmp_path):
    encoder = CLIPForeground.from_clip(clip_model, unconditional="zeros").eval()
    encoder.save_pretrained(tmp_path)
    again = CLIPForeground.from_pretrained(tmp_path).eval()
    image, mask = torch.rand(1, 3, 28, 28), torch.ones(1, 1, 28, 28)
    assert torch.equal(encoder(image, mask), again(image, mask))
    assert again.config.unconditional == "zeros"


def latent_foreground(**kwargs):
    torch.manual_seed(0)
    sizes = dict(in_channels=4, patch_size=4, grid_size=3, cross_attention_dim=12, num_layers=2, num_heads=2)
    return LatentForeground(**{**sizes, **kwargs})


def person(b=2, grid=3):
    generator = torch.Generator().manual_seed(b)
    side = 4 * grid
    return (
        torch.randn(b, 4, grid, grid, generator=generator),
        torch.rand(b, 3, side, side, generator=generator),
        (torch.rand(b, 1, side, side, generator=generator) > 0.5).float(),
    )


def test_latent_tokens_follow_the_patches():
    """Without layers and positions, a token depends on its own patch of latent, skeleton and mask alone."""
    encoder = latent_foreground(num_layers=0)
    with torch.no_grad():
        encoder.position.zero_()
    latents, pose, mask = person(1)
    tokens = encoder(latents, pose, mask)
    for row in range(3):
        for column in range(3):
            pixels = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
            patch = torch.cat(
                [
                    latents[0, :, row, column],
                    pose[(0, slice(None), *pixels)].flatten(),
                    mask[(0, 0, *pixels)].flatten(),
                ]
            )
            assert_close(
                tokens[0, 3 * row + column], encoder.norm(encoder.embed(patch)), atol=1e-5, rtol=1e-4
            )


def test_latent_layer_is_torchs_prenorm_transformer_layer():
    encoder = latent_foreground(num_layers=1)
    ours = encoder.layers[0]
    theirs = torch.nn.TransformerEncoderLayer(
        12, 2, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": ours.qkv.weight,
            "self_attn.in_proj_bias": ours.qkv.bias,
            "self_attn.out_proj.weight": ours.out.weight,
            "self_attn.out_proj.bias": ours.out.bias,
            "linear1.weight": ours.mlp[0].weight,
            "linear1.bias": ours.mlp[0].bias,
            "linear2.weight": ours.mlp[2].weight,
            "linear2.bias": ours.mlp[2].bias,
            **{f"norm{i}.{k}": v for i in (1, 2) for k, v in getattr(ours, f"norm{i}").state_dict().items()},
        }
    )
    tokens = torch.randn(2, 5, 12)
    assert_close(ours(tokens), theirs(tokens), atol=1e-5, rtol=1e-4)


def test_every_latent_parameter_learns_and_batches_do_not_mix():
    encoder = latent_foreground()
    inputs = person(2)
    tokens = encoder(*inputs)
    assert tokens.shape == (2, 9, 12)
    alone = encoder(*(x[1:] for x in inputs))
    assert_close(tokens[1:], alone, atol=1e-5, rtol=1e-4)
    dropped = drop_foreground(tokens, encoder.unconditional(tokens), torch.tensor([True, False]))
    (dropped * torch.randn_like(dropped)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_dropping_swaps_whole_clips():
    tokens, nothing = torch.randn(3, 4, 5), torch.zeros(3, 4, 5)
    out = drop_foreground(tokens, nothing, torch.tensor([False, True, False]))
    assert torch.equal(out[1], nothing[1]) and torch.equal(out[[0, 2]], tokens[[0, 2]])


def test_latent_foreground_of_another_size_and_wrong_sizes():
    encoder = latent_foreground()
    assert encoder(*person(1, grid=5)).shape == (1, 25, 12)
    latents, pose, mask = person(1)
    with pytest.raises(ValueError, match="pose"):
        encoder(latents, pose[..., :8], mask[..., :8])


def test_latent_foreground_survives_saving(tmp_path):
    encoder = latent_foreground(unconditional="zeros")
    encoder.save_pretrained(tmp_path)
    again = LatentForeground.from_pretrained(tmp_path)
    assert torch.equal(encoder(*person()), again(*person()))
    tokens = again(*person())
    assert torch.equal(again.unconditional(tokens), torch.zeros_like(tokens))


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
    assert codec.reconstructed(background).shape == background.shape
    with pytest.raises(ValueError, match="six channels"):
        codec.encode(video, None)


@pytest.mark.parametrize("offset", ["background", "draft"])
def test_of_stacked_latents_what_they_are_counted_from_is_zero(stacked, offset):
    ones = (1.5,) * 4
    codec = LatentCodec(stacked, LatentConfig((ones,), ((0.0,) * 4,), ones, (0.2,) * 4, offset))
    video, depth, background = clips()
    if offset == "draft":
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
