"""The four attentions of the paper: one layer, looking along four different axes.

| attention | a query sees | token axes |
|---|---|---|
| spatial | its own frame and modality | `h·w` |
| temporal | its own place in every frame | `f` |
| cross-modal (Sec. 3.1) | its own frame in every modality | `m·h·w` |
| foreground | the tokens of the person's image | `n` |

Parameter names are those of diffusers' `Attention`, so Stable Diffusion weights load as they are.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from idol.model.modality import ClipShape

Axis = Literal["space", "frames", "modalities"]
Maps = Literal["own", "average", "video"]

FOLDED = "(b m f) s (h d)"  # h heads of width d; s = places in a frame
SPLIT: dict[Axis, str] = {
    "space": "(b m f) h s d",
    "frames": "(b m s) h f d",
    "modalities": "(b f) h (m s) d",
}
ACROSS_CLIP = "b h (m f s) d"


class KeysValues(NamedTuple):
    """Keys and values (b, heads, n, d) of one foreground attention: the same at every diffusion time."""

    keys: Tensor
    values: Tensor


def attention_map(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) of (..., s, d) and (..., n, d): (..., s, n)."""
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)


def applied_maps(maps: Tensor, kind: Maps, video: int = 0) -> Tensor:
    """The maps that the streams apply, of those that they make, (b, heads, m, s, n) both (App. A, Table 8).

    Args:
        maps: softmax maps, each row of which sums to 1.
        kind: each stream's "own", their "average", or the "video" stream's.
        video: place of the video stream on the m axis.
    """
    match kind:
        case "own":
            return maps
        case "average":
            return maps.mean(2, keepdim=True).expand_as(maps)
        case "video":
            return maps[:, :, video : video + 1].expand_as(maps)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention: the fused kernel, but the plain formula to train on a CPU.

    There the fused kernel's backward pass took a third of a training step of `mini`, more than the formula.
    """
    if q.device.type == "cpu" and torch.is_grad_enabled():
        return attention_map(q, k).to(v.dtype) @ v
    return scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Multi-head attention without bias on q, k, v.

    Args:
        dim: width of the tokens.
        heads: number of heads; divides `dim`.
        context_dim: width of the tokens attended to, where they are not the queries themselves.
        zero_init: start with a zero output, for layers added to a trained network.
        maps: whose maps the streams apply in attention onto the foreground (`applied_maps`).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        context_dim: int | None = None,
        zero_init: bool = False,
        maps: Maps = "own",
    ) -> None:
        super().__init__()
        self.heads, self.maps = heads, maps
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=False)
        out = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([out])
        if zero_init:
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)

    def among(self, tokens: Tensor, clip: ClipShape, axis: Axis) -> Tensor:
        """Self-attention of folded `tokens` (b·m·f, s, c) along `axis`."""
        sizes = {**clip.sizes, "s": tokens.shape[1]}
        split = f"{FOLDED} -> {SPLIT[axis]}"
        q, k, v = (
            rearrange(project(tokens), split, h=self.heads, **sizes)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        out = attend(q, k, v)
        return self.to_out[0](rearrange(out, f"{SPLIT[axis]} -> {FOLDED}", h=self.heads, **sizes))

    def keys_values(self, context: Tensor) -> KeysValues:
        """Keys and values of `context` (b, n, context_dim)."""
        keys, values = (
            rearrange(project(context), "b n (h d) -> b h n d", h=self.heads)
            for project in (self.to_k, self.to_v)
        )
        return KeysValues(keys, values)

    def onto(
        self, tokens: Tensor, context: KeysValues, clip: ClipShape, with_map: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of folded `tokens` (b·m·f, s, c) onto the foreground.

        All queries of a clip form one sequence, so the keys are neither repeated per frame nor per modality.

        Returns:
            The result (b·m·f, s, c), and the attention map that was applied (b, m, f, heads, s, n) when asked
            for.
        """
        sizes = {**clip.sizes, "s": tokens.shape[1], "h": self.heads}
        q = rearrange(self.to_q(tokens), f"{FOLDED} -> {ACROSS_CLIP}", **sizes)
        maps = None
        if with_map or self.maps != "own":
            made = attention_map(q, context.keys).unflatten(2, (clip.m, -1))
            weights = applied_maps(made, self.maps, clip.video).flatten(2, 3)
            out = weights.to(context.values.dtype) @ context.values
            if with_map:
                maps = rearrange(weights, "b h (m f s) n -> b m f h s n", **sizes)
        else:
            out = attend(q, context.keys, context.values)
        return self.to_out[0](rearrange(out, f"{ACROSS_CLIP} -> {FOLDED}", **sizes)), maps
