"""The U-Net's building blocks: Stable Diffusion's, with the paper's layers at their places (Fig. 2, right).

    layer  = ResBlock [-> temporal convolution] -> Transformer [-> motion module]
    block  = layers -> cross-modal attention -> down- or upsampling

Tensors are folded, `(b·m·f, c, h, w)`; names of the parameters that Stable Diffusion has are diffusers' own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from idol.model.attention import Attention, KeysValues, Maps
from idol.model.modality import ClipShape, PerModality, Streams, of_each, on
from idol.model.random_shift import RandomShiftAttention
from idol.model.temporal import TemporalResidual, group_norm, motion_module

Temporal = Literal["handcrafted", "animatediff"]
LayerKV = tuple[KeysValues, ...] | Streams  # one per transformer block of a layer, or that of each stream
BlockKV = tuple[LayerKV, ...]  # one per layer with attention


@dataclass(frozen=True)
class BlockFeatures:
    """What the consistency losses look at, taken from the last attention layer of an up block.

    Attributes:
        self_attention: output of the spatial self-attention (b, m, f, h·w, d).
        cross_attention: softmax maps onto the foreground tokens (b, m, f, heads, h·w, n), as applied.
    """

    self_attention: Tensor
    cross_attention: Tensor

    @staticmethod
    def joined(parts: list[BlockFeatures]) -> BlockFeatures:
        """Those of streams (m = 1 each) as those of a clip."""
        return BlockFeatures(
            torch.cat([part.self_attention for part in parts], 1),
            torch.cat([part.cross_attention for part in parts], 1),
        )


@dataclass(frozen=True)
class Sizes:
    """What every layer of one network has in common.

    Attributes:
        time_dim: width of the time embedding.
        heads: heads of every attention.
        context_dim: width of the foreground tokens.
        groups: groups of every GroupNorm.
        depth: transformer blocks per layer.
        temporal: kind of temporal layers, None for a network of single frames.
        cross_modal: whether blocks with attention end with cross-modal attention.
        copies: sets of weights, one per modality; 1 is shared.
        random_shift: whether the streams meet in MM-Diffusion's attention instead.
        maps: whose cross-attention maps the streams apply.
        over_frames: whether the ResBlocks' GroupNorm statistics span the frames (DisCo's weights).
        motion_heads, motion_depth, motion_frames: sizes of AnimateDiff's motion modules.
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

    def own(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A layer that the modalities share, or one for each."""
        return make() if self.copies == 1 else PerModality(make, self.copies)

    def motion(self, channels: int) -> nn.Module:
        """A motion module for `channels`."""
        return motion_module(channels, self.motion_heads, self.motion_depth, self.motion_frames, self.groups)


class ResBlock(ResnetBlock2D):
    """Diffusers' ResBlock, with a temporal convolution before its skip connection is added."""

    def __init__(self, in_channels: int, out_channels: int, sizes: Sizes) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=sizes.time_dim,
            groups=sizes.groups,
            eps=1e-5,
        )
        self.over_frames = sizes.over_frames
        self.temporal: TemporalResidual | None = None
        if sizes.temporal == "handcrafted":
            self.temporal = TemporalResidual(out_channels, sizes.groups, 1e-5, sizes.over_frames)

    def forward(self, x: Tensor, time: Tensor, clip: ClipShape) -> Tensor:  # type: ignore[override]
        """Folded `x` (b·m·f, c, h, w) and `time` (b·m·f, time_dim) to (b·m·f, out, h, w)."""
        h = self.conv1(self.nonlinearity(group_norm(self.norm1, x, clip, self.over_frames)))
        h = h + self.time_emb_proj(self.nonlinearity(time))[:, :, None, None]
        h = self.conv2(self.nonlinearity(group_norm(self.norm2, h, clip, self.over_frames)))
        if self.temporal is not None:
            h = self.temporal(h, clip)
        skip = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return skip + h


class TransformerBlock(nn.Module):
    """Spatial self-attention -> temporal self-attention -> foreground cross-attention -> feed-forward."""

    def __init__(self, dim: int, sizes: Sizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, sizes.heads)
        self.temporal_attn: Attention | None = None
        if sizes.temporal == "handcrafted":
            self.temporal_norm = nn.LayerNorm(dim)
            self.temporal_attn = Attention(dim, sizes.heads, zero_init=True)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, sizes.heads, sizes.context_dim, maps=sizes.maps)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(
        self, tokens: Tensor, clip: ClipShape, foreground: KeysValues, with_features: bool = False
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Folded `tokens` (b·m·f, h·w, c) to the same shape, and features when asked for."""
        attended = self.attn1.among(self.norm1(tokens), clip, "space")
        tokens = tokens + attended
        if self.temporal_attn is not None:
            tokens = tokens + self.temporal_attn.among(self.temporal_norm(tokens), clip, "frames")
        seen, maps = self.attn2.onto(self.norm2(tokens), foreground, clip, with_map=with_features)
        tokens = tokens + seen
        tokens = tokens + self.ff(self.norm3(tokens))
        return tokens, None if maps is None else BlockFeatures(clip.unfold(attended), maps)


class Transformer(nn.Module):
    """Transformer blocks over the places of a frame, between two projections, residual."""

    def __init__(self, channels: int, sizes: Sizes) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(sizes.groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, kernel_size=1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, sizes) for _ in range(sizes.depth))
        self.proj_out = nn.Conv2d(channels, channels, kernel_size=1)

    def keys_values(self, foreground: Tensor) -> LayerKV:
        """Keys and values of the foreground tokens (b, n, d), one pair per transformer block."""
        return tuple(block.attn2.keys_values(foreground) for block in self.transformer_blocks)  # type: ignore[union-attr, operator]

    def forward(
        self, x: Tensor, clip: ClipShape, foreground: LayerKV, with_features: bool = False
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Folded `x` (b·m·f, c, h, w); the features are those of the last transformer block."""
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        features = None
        for i, (block, kv) in enumerate(zip(self.transformer_blocks, foreground, strict=True)):
            last = i == len(self.transformer_blocks) - 1
            tokens, features = block(tokens, clip, kv, with_features and last)
        return self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:])) + x, features


class CrossModalAttention(nn.Module):
    """Self-attention over the places of one frame in every modality (Sec. 3.1), zero at the start."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads, zero_init=True)

    def forward(self, x: Tensor, clip: ClipShape) -> Tensor:
        """Folded `x` (b·m·f, c, h, w); with one modality there is nothing to exchange and it is returned."""
        if clip.m == 1:
            return x
        tokens = x.flatten(2).transpose(1, 2)
        attended = self.attn.among(self.norm(tokens), clip, "modalities")
        return x + attended.transpose(1, 2).unflatten(2, x.shape[2:])


class Block(nn.Module):
    """Layers at one resolution; what down, middle and up blocks share."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Any]

    def __init__(
        self,
        widths: list[tuple[int, int]],
        attention: bool,
        sizes: Sizes,
        cross_modal: bool,
        window: int | None = None,
    ) -> None:
        """`widths` holds (in, out) channels of each layer; `window` is that of random-shift attention."""
        super().__init__()
        channels = widths[-1][1]
        self.resnets = nn.ModuleList(sizes.own(partial(ResBlock, i, o, sizes)) for i, o in widths)
        self.attentions = nn.ModuleList(
            sizes.own(partial(Transformer, o, sizes)) for _, o in widths if attention
        )
        self.motion_modules = nn.ModuleList(
            sizes.own(partial(sizes.motion, o)) for _, o in widths if sizes.temporal == "animatediff"
        )
        self.cross_modal: CrossModalAttention | RandomShiftAttention | None = None
        if attention and sizes.random_shift:
            self.cross_modal = RandomShiftAttention(channels, sizes.heads, window)
        elif attention and cross_modal:
            self.cross_modal = CrossModalAttention(channels, sizes.heads)

    def keys_values(self, foreground: Tensor) -> BlockKV:
        """Keys and values of the foreground tokens for each layer with attention."""
        return tuple(of_each(layer, lambda own: own.keys_values(foreground)) for layer in self.attentions)

    def layer(
        self, i: int, x: Tensor, time: Tensor, clip: ClipShape, foreground: BlockKV, with_features: bool
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Layer `i`, recomputed in the backward pass where gradient checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            run = self._gradient_checkpointing_func
            return run(self._layer, i, x, time, clip, foreground, with_features)
        return self._layer(i, x, time, clip, foreground, with_features)

    def _layer(
        self, i: int, x: Tensor, time: Tensor, clip: ClipShape, foreground: BlockKV, with_features: bool
    ) -> tuple[Tensor, BlockFeatures | None]:
        features = None
        x = self.resnets[i](x, time, clip)
        if self.attentions:
            x, features = self.attentions[i](x, clip, foreground[i], with_features)
        if self.motion_modules:
            x = on(self.motion_modules[i], clip, x, num_frames=clip.f)
        return x, features

    def exchange(self, x: Tensor, clip: ClipShape) -> Tensor:
        """Cross-modal attention, where the block has it."""
        return x if self.cross_modal is None else self.cross_modal(x, clip)


class DownBlock(Block):
    """Layers, cross-modal attention, then halving of the resolution (not in the last block)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        layers: int,
        attention: bool,
        sizes: Sizes,
        downsample: bool,
        window: int | None = None,
    ) -> None:
        widths = [(in_channels if i == 0 else channels, channels) for i in range(layers)]
        super().__init__(widths, attention, sizes, sizes.cross_modal, window)
        down = partial(Downsample2D, channels, use_conv=True, name="op")
        self.downsamplers = nn.ModuleList([sizes.own(down)] if downsample else [])

    def forward(
        self, x: Tensor, time: Tensor, clip: ClipShape, foreground: BlockKV, residual: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns the output and the skips; an adapter's `residual` enters after the last layer."""
        skips: list[Tensor] = []
        for i in range(len(self.resnets)):
            x, _ = self.layer(i, x, time, clip, foreground, with_features=False)
            skips.append(x)
        if residual is not None:
            x = clip.add(x, residual)
        skips[-1] = x = self.exchange(x, clip)
        for downsample in self.downsamplers:
            x = on(downsample, clip, x)
            skips.append(x)
        return x, skips


class MidBlock(Block):
    """ResBlock, Transformer [, motion module], ResBlock [, random-shift attention over all frames]."""

    def __init__(self, channels: int, sizes: Sizes) -> None:
        super().__init__([(channels, channels)], attention=True, sizes=sizes, cross_modal=False)
        self.resnets.append(sizes.own(partial(ResBlock, channels, channels, sizes)))

    def forward(self, x: Tensor, time: Tensor, clip: ClipShape, foreground: BlockKV) -> Tensor:
        """Folded x in and out."""
        x, _ = self.layer(0, x, time, clip, foreground, with_features=False)
        return self.exchange(self.resnets[1](x, time, clip), clip)


class UpBlock(Block):
    """Layers that each take a skip, cross-modal attention, then doubling of the resolution."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        skips: list[int],
        attention: bool,
        sizes: Sizes,
        upsample: bool,
        window: int | None = None,
    ) -> None:
        widths = [((in_channels if i == 0 else channels) + skip, channels) for i, skip in enumerate(skips)]
        super().__init__(widths, attention, sizes, sizes.cross_modal, window)
        up = partial(Upsample2D, channels, use_conv=True)
        self.upsamplers = nn.ModuleList([sizes.own(up)] if upsample else [])

    def forward(
        self,
        x: Tensor,
        skips: list[Tensor],
        time: Tensor,
        clip: ClipShape,
        foreground: BlockKV,
        with_features: bool,
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Takes its skips off the end of `skips`; features are those of the last layer."""
        features = None
        for i in range(len(self.resnets)):
            last = i == len(self.resnets) - 1
            x = torch.cat([x, skips.pop()], dim=1)
            x, features = self.layer(i, x, time, clip, foreground, with_features and last)
        x = self.exchange(x, clip)
        for upsample in self.upsamplers:
            # The size is that of the next skip, so that odd sizes work too.
            x = on(upsample, clip, x, output_size=skips[-1].shape[-2:])
        return x, features
