"""The U-Net's layers: Stable Diffusion's ResBlock and transformer, with the paper's added (Fig. 2, right).

Tensors are folded, `(b·m·f, c, h, w)`. Parameters that Stable Diffusion has are named as in diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from idol.model.attention import Attention, KeysValues, Maps
from idol.model.modality import ClipShape, ModalityTuple, PerModality
from idol.model.temporal import TemporalResidual, group_norm, motion_module

Temporal = Literal["handcrafted", "animatediff"]
# one per transformer block of a layer, or such a tuple for each modality
LayerKV = tuple[KeysValues, ...] | ModalityTuple


@dataclass(frozen=True)
class BlockFeatures:
    """Inputs of the consistency losses (Eqs. 3 to 6), from the last attention layer of an up block.

    Attributes:
        self_attention: output of the spatial self-attention (b, m, f, h·w, d).
        cross_attention: softmax maps onto the foreground tokens (b, m, f, heads, h·w, n), as applied.
    """

    self_attention: Tensor
    cross_attention: Tensor

    @staticmethod
    def concatenate(parts: list[BlockFeatures]) -> BlockFeatures:
        """Concatenate the features of separate modalities (m = 1 each)."""
        return BlockFeatures(
            torch.cat([part.self_attention for part in parts], 1),
            torch.cat([part.cross_attention for part in parts], 1),
        )


@dataclass(frozen=True)
class BlockConfig:
    """Settings that all layers of a network share.

    Attributes:
        time_dim: width of the time embedding.
        heads: heads of every attention.
        context_dim: width of the foreground tokens.
        groups: groups of every GroupNorm.
        depth: transformer blocks per layer.
        temporal: kind of temporal layers, None for a network of single frames.
        cross_modal: whether blocks with attention end with cross-modal attention.
        over_frames: whether the ResBlocks' GroupNorm statistics span the frames (DisCo's weights).
        motion_heads: heads of AnimateDiff's motion modules.
        motion_depth: transformer blocks of a motion module.
        motion_frames: longest clip of a motion module.
        copies: sets of weights: 1 shared by the modalities, or one for each.
        random_shift: MM-Diffusion's attention between the modalities in place of cross-modal attention.
        maps: the cross-attention maps that each modality applies.
    """

    time_dim: int
    heads: int
    context_dim: int
    groups: int
    depth: int = 1
    temporal: Temporal | None = None
    cross_modal: bool = False
    over_frames: bool = False
    motion_heads: int = 8
    motion_depth: int = 1
    motion_frames: int = 32
    copies: int = 1
    random_shift: bool = False
    maps: Maps = "own"

    def per_modality(self, make: Callable[[], nn.Module]) -> nn.Module:
        """Make a layer that the modalities share, or one for each."""
        return make() if self.copies == 1 else PerModality(make, self.copies)

    def motion(self, channels: int) -> nn.Module:
        """Make a motion module for `channels`."""
        return motion_module(channels, self.motion_heads, self.motion_depth, self.motion_frames, self.groups)


class ResBlock(ResnetBlock2D):
    """Diffusers' ResBlock, with a temporal convolution before its skip connection is added."""

    def __init__(self, in_channels: int, out_channels: int, config: BlockConfig) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=config.time_dim,
            groups=config.groups,
            eps=1e-5,
        )
        self.over_frames = config.over_frames
        # after the second convolution (Sec. 3.1), before the skip connection is added
        self.temporal: TemporalResidual | None = None
        if config.temporal == "handcrafted":
            self.temporal = TemporalResidual(out_channels, config.groups, 1e-5, config.over_frames)

    def forward(self, x: Tensor, time: Tensor, clip: ClipShape) -> Tensor:  # type: ignore[override]
        """Apply the block.

        Args:
            x: folded (b·m·f, c, h, w).
            time: time and modality embedding (b·m·f, time_dim).
            clip: sizes of the folded axes.

        Returns:
            (b·m·f, out_channels, h, w).
        """
        h = self.conv1(self.nonlinearity(group_norm(self.norm1, x, clip, self.over_frames)))
        # time and modality shift every channel of an image
        h = h + self.time_emb_proj(self.nonlinearity(time))[:, :, None, None]
        h = self.conv2(self.nonlinearity(group_norm(self.norm2, h, clip, self.over_frames)))
        if self.temporal is not None:
            h = self.temporal(h, clip)
        skip = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return skip + h


class TransformerBlock(nn.Module):
    """Spatial self-attention -> temporal self-attention -> foreground cross-attention -> feed-forward."""

    def __init__(self, dim: int, config: BlockConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, config.heads)
        self.temporal_attn: Attention | None = None
        if config.temporal == "handcrafted":
            self.temporal_norm = nn.LayerNorm(dim)
            self.temporal_attn = Attention(dim, config.heads, zero_init=True)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, config.heads, config.context_dim, maps=config.maps)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(
        self, tokens: Tensor, clip: ClipShape, foreground: KeysValues, with_features: bool = False
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Apply the block.

        Args:
            tokens: folded (b·m·f, h·w, c).
            clip: sizes of the folded axes.
            foreground: keys and values of the foreground tokens.
            with_features: also return what the consistency losses need.
        """
        # the output without the residual is the feature of Eq. 3
        attended = self.attn1.self_attention(self.norm1(tokens), clip, "space")
        tokens = tokens + attended
        if self.temporal_attn is not None:
            tokens = tokens + self.temporal_attn.self_attention(self.temporal_norm(tokens), clip, "frames")
        seen, maps = self.attn2.cross_attention(self.norm2(tokens), foreground, clip, with_map=with_features)
        tokens = tokens + seen
        tokens = tokens + self.ff(self.norm3(tokens))
        return tokens, None if maps is None else BlockFeatures(clip.unfold(attended), maps)


class Transformer(nn.Module):
    """Transformer blocks over the positions of a frame, between two projections, residual."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, kernel_size=1)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, config) for _ in range(config.depth)
        )
        self.proj_out = nn.Conv2d(channels, channels, kernel_size=1)

    def keys_values(self, foreground: Tensor) -> LayerKV:
        """Return keys and values of the foreground tokens (b, n, d), one pair per transformer block."""
        return tuple(block.attn2.keys_values(foreground) for block in self.transformer_blocks)  # type: ignore[union-attr, operator]

    def forward(
        self, x: Tensor, clip: ClipShape, foreground: LayerKV, with_features: bool = False
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Apply the blocks.

        Args:
            x: folded (b·m·f, c, h, w).
            clip: sizes of the folded axes.
            foreground: keys and values of each block.
            with_features: also return the features of the last block.
        """
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)  # (b m f) (h w) c
        features = None
        for i, (block, kv) in enumerate(zip(self.transformer_blocks, foreground, strict=True)):
            last = i == len(self.transformer_blocks) - 1
            tokens, features = block(tokens, clip, kv, with_features and last)
        return self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:])) + x, features


class CrossModalAttention(nn.Module):
    """Self-attention over the positions of one frame in all modalities (Sec. 3.1), initialized to zero."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads, zero_init=True)

    def forward(self, x: Tensor, clip: ClipShape) -> Tensor:
        """Apply the attention; a single modality is returned as it is.

        Args:
            x: folded (b·m·f, c, h, w).
            clip: sizes of the folded axes.
        """
        if clip.m == 1:
            return x
        tokens = x.flatten(2).transpose(1, 2)  # (b m f) (h w) c
        attended = self.attn.self_attention(self.norm(tokens), clip, "modalities")
        return x + attended.transpose(1, 2).unflatten(2, x.shape[2:])
