"""Foreground encoders against transformers and plain arithmetic."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from idol.model.encoders import CLIPForeground, LatentForeground, drop_foreground


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
