"""The four attentions of the paper: one layer, along four different axes.

| attention | a query attends to | token axes |
|---|---|---|
| spatial | its own frame and modality | `h·w` |
| temporal | its own position in every frame | `f` |
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

from idol.clip.modality import Modality
from idol.model.modality import ClipShape

Axis = Literal["space", "frames", "modalities"]
Maps = Literal["own", "average", "video"]

FOLDED = "(b m f) s (h d)"  # h heads of width d; s = h·w positions of a frame
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
    """Return softmax(q k^T / sqrt(d)), (..., s, n).

    Args:
        q: (..., s, d).
        k: (..., n, d).
    """
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)


def share_maps(maps: Tensor, kind: Maps, video: int = Modality.VIDEO) -> Tensor:
    """Return the cross-attention maps (b, heads, m, s, n) that the modalities apply (App. A, Table 8).

    Args:
        maps: softmax maps (b, heads, m, s, n) that each computes; rows sum to 1.
        kind: each modality's "own", their "average", or the "video" ones for all.
        video: index of the video on the m axis.
    """
    match kind:
        case "own":
            return maps
        case "average":
            return maps.mean(2, keepdim=True).expand_as(maps)
        case "video":
            return maps[:, :, video : video + 1].expand_as(maps)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute scaled dot-product attention by the fused kernel, or by its formula to train on a CPU.

    There the fused kernel's backward pass is slower than the formula's: it took a third of a training step of
    `mini`.

    Args:
        q: (..., s, d).
        k: (..., n, d).
        v: (..., n, d).
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
        zero_init: initialize the output to zero, for layers added to a trained network.
        maps: which maps each modality applies in cross-attention (`share_maps`).
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
        self.to_out = nn.ModuleList([out])  # a list, as its parameters are named `to_out.0` in diffusers
        if zero_init:
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)

    def self_attention(self, tokens: Tensor, clip: ClipShape, axis: Axis) -> Tensor:
        """Attend along one axis of a clip.

        Args:
            tokens: folded (b·m·f, s, c).
            clip: sizes of the folded axes.
            axis: what a query attends to: the positions of its frame, the frames at its position, or the
                positions of its frame in all modalities.
        """
        # the axis attended along becomes the sequence, all others join the batch
        sizes = {**clip.sizes, "s": tokens.shape[1]}
        split = f"{FOLDED} -> {SPLIT[axis]}"
        q, k, v = (
            rearrange(project(tokens), split, h=self.heads, **sizes)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        out = attend(q, k, v)
        return self.to_out[0](rearrange(out, f"{SPLIT[axis]} -> {FOLDED}", h=self.heads, **sizes))

    def keys_values(self, context: Tensor) -> KeysValues:
        """Project `context` (b, n, context_dim) to keys and values."""
        keys, values = (
            rearrange(project(context), "b n (h d) -> b h n d", h=self.heads)
            for project in (self.to_k, self.to_v)
        )
        return KeysValues(keys, values)

    def cross_attention(
        self, tokens: Tensor, context: KeysValues, clip: ClipShape, with_map: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend to the foreground.

        Args:
            tokens: folded (b·m·f, s, c).
            context: `keys_values` of the foreground tokens.
            clip: sizes of the folded axes.
            with_map: also return the map.

        Returns:
            The result (b·m·f, s, c), and the attention map as applied (b, m, f, heads, s, n), or None.
        """
        # All queries of a clip form one sequence: keys are repeated neither per frame nor per modality.
        sizes = {**clip.sizes, "s": tokens.shape[1], "h": self.heads}
        q = rearrange(self.to_q(tokens), f"{FOLDED} -> {ACROSS_CLIP}", **sizes)
        maps = None
        if with_map or self.maps != "own":
            # the fused kernel returns no map: b h (m f s) n -> b h m (f s) n, where maps may be shared
            computed = attention_map(q, context.keys).unflatten(2, (clip.m, -1))
            weights = share_maps(computed, self.maps, clip.video).flatten(2, 3)
            out = weights.to(context.values.dtype) @ context.values
            if with_map:
                maps = rearrange(weights, "b h (m f s) n -> b m f h s n", **sizes)
        else:
            out = attend(q, context.keys, context.values)
        return self.to_out[0](rearrange(out, f"{ACROSS_CLIP} -> {FOLDED}", **sizes)), maps
