"""Each new layer against a literal loop over its tokens; weights that start at zero are random here."""

import math

import pytest
import torch
from torch.nn.functional import group_norm as torch_group_norm
from torch.nn.functional import silu

from idol.model.attention import Attention
from idol.model.layers import CrossModalAttention
from idol.model.modality import ClipShape
from idol.model.temporal import TemporalResidual
from support.tiny_networks import randomize

CLIP = ClipShape(b=2, m=2, f=3)
C, H, W, HEADS = 8, 2, 3, 2


@pytest.fixture
def features():
    return torch.randn(CLIP.b * CLIP.m * CLIP.f, C, H, W, generator=torch.Generator().manual_seed(0))


def one_query(attention, query, context):
    """Softmax attention of one token (c,) over context tokens (n, c), head by head, from the formula."""
    width = query.numel() // HEADS if attention.to_q.out_features == C else None
    q, k, v = attention.to_q(query), attention.to_k(context), attention.to_v(context)
    heads = []
    for h in range(HEADS):
        part = slice(h * width, (h + 1) * width)
        scores = torch.stack([q[part] @ key[part] / math.sqrt(width) for key in k])
        weights = scores.exp() / scores.exp().sum()
        heads.append(sum(w * value[part] for w, value in zip(weights, v, strict=True)))
    return attention.to_out[0](torch.cat(heads))


@torch.no_grad()
@pytest.mark.parametrize("axis", ["space", "frames", "modalities"])
def test_attention_looks_along_its_axis(features, axis):
    attention = randomize(Attention(C, HEADS), seed=1)
    tokens = features.flatten(2).transpose(1, 2)  # (b·m·f, h·w, c)
    ours = CLIP.unfold(attention.self_attention(tokens, CLIP, axis))
    every = CLIP.unfold(tokens)  # (b, m, f, h·w, c)
    for b in range(2):
        for m in range(2):
            for f in range(3):
                for s in range(H * W):
                    seen = {
                        "space": every[b, m, f],
                        "frames": every[b, m, :, s],
                        "modalities": torch.cat([every[b, 0, f], every[b, 1, f]]),
                    }[axis]
                    expected = one_query(attention, every[b, m, f, s], seen)
                    torch.testing.assert_close(ours[b, m, f, s], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_foreground_attention_and_its_map(features):
    attention = randomize(Attention(C, HEADS, context_dim=5), seed=1)
    tokens = features.flatten(2).transpose(1, 2)
    foreground = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(3))
    kv = attention.keys_values(foreground)
    fast, no_map = attention.cross_attention(tokens, kv, CLIP)
    explicit, maps = attention.cross_attention(tokens, kv, CLIP, with_map=True)
    assert no_map is None and maps.shape == (2, 2, 3, HEADS, H * W, 4)
    torch.testing.assert_close(fast, explicit, rtol=1e-4, atol=1e-5)
    ours, every = CLIP.unfold(fast), CLIP.unfold(tokens)
    for b, m, f, s in [(0, 0, 0, 0), (0, 1, 2, 3), (1, 0, 1, 5), (1, 1, 2, 0)]:
        expected = one_query(attention, every[b, m, f, s], foreground[b])
        torch.testing.assert_close(ours[b, m, f, s], expected, rtol=1e-4, atol=1e-5)
        q, k = attention.to_q(every[b, m, f, s])[:4], attention.to_k(foreground[b])[:, :4]
        torch.testing.assert_close(maps[b, m, f, 0, s], (k @ q / 2).softmax(0), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("over_frames", [False, True])
def test_temporal_convolution(features, over_frames):
    layer = randomize(TemporalResidual(C, groups=4, eps=1e-5, over_frames=over_frames), seed=1)
    ours = CLIP.unfold(layer(features, CLIP))
    every = CLIP.unfold(features)  # (b, m, f, c, h, w)
    weight, bias = layer.conv.weight, layer.conv.bias
    for b in range(2):
        for m in range(2):
            clip = every[b, m]
            if over_frames:
                normed = torch_group_norm(clip.transpose(0, 1)[None], 4, layer.norm.weight, layer.norm.bias)[
                    0
                ]
                normed = normed.transpose(0, 1)
            else:
                normed = torch_group_norm(clip, 4, layer.norm.weight, layer.norm.bias)
            h = silu(normed)
            for f in range(3):
                taps = [k for k in range(3) if 0 <= f + k - 1 < 3]
                moved = sum(torch.einsum("oc,chw->ohw", weight[:, :, k], h[f + k - 1]) for k in taps)
                expected = clip[f] + moved + bias[:, None, None]
                torch.testing.assert_close(ours[b, m, f], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_cross_modal_attention_is_residual_and_silent_at_first(features):
    fresh = CrossModalAttention(C, HEADS)
    assert torch.equal(fresh(features, CLIP), features)
    layer = randomize(fresh, seed=1)
    assert (layer(features, CLIP) - features).abs().max() > 1e-3
    alone = ClipShape(b=4, m=1, f=3)
    assert torch.equal(layer(features, alone), features)
