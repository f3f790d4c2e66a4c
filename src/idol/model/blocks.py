"""The U-Net's building blocks: Stable Diffusion's, with the paper's layers added (Fig. 2, right).

    layer  = ResBlock [-> temporal convolution] -> Transformer [-> motion module]
    block  = layers -> cross-modal attention -> down- or upsampling

Tensors are folded, `(b·m·f, c, h, w)`. Parameters that Stable Diffusion has are named as in diffusers.
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
from idol.model.modality import ClipShape, ModalityTuple, PerModality, apply_per_modality, map_copies
from idol.model.random_shift import RandomShiftAttention
from idol.model.temporal import TemporalResidual, group_norm, motion_module

Temporal = Literal["handcrafted", "animatediff"]
# one per transformer block of a layer, or such a tuple for each modality
LayerKV = tuple[KeysValues, ...] | ModalityTuple
BlockKV = tuple[LayerKV, ...]  # one per layer with attention


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


class Block(nn.Module):
    """Layers at one resolution: the base of down, middle and up blocks.

    Args:
        widths: (in, out) channels of each layer.
        attention: whether layers have transformers.
        config: settings of all layers.
        cross_modal: whether the block ends with cross-modal attention, where it has attention.
        window: frames that random-shift attention sees; None is all.
    """

    # set by diffusers' `enable_gradient_checkpointing`
    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Any]

    def __init__(
        self,
        widths: list[tuple[int, int]],
        attention: bool,
        config: BlockConfig,
        cross_modal: bool,
        window: int | None = None,
    ) -> None:
        super().__init__()
        channels = widths[-1][1]
        self.resnets = nn.ModuleList(config.per_modality(partial(ResBlock, i, o, config)) for i, o in widths)
        self.attentions = nn.ModuleList(
            config.per_modality(partial(Transformer, o, config)) for _, o in widths if attention
        )
        self.motion_modules = nn.ModuleList(
            config.per_modality(partial(config.motion, o))
            for _, o in widths
            if config.temporal == "animatediff"
        )
        self.cross_modal: CrossModalAttention | RandomShiftAttention | None = None
        if attention and config.random_shift:
            self.cross_modal = RandomShiftAttention(channels, config.heads, window)
        elif attention and cross_modal:
            self.cross_modal = CrossModalAttention(channels, config.heads)

    def keys_values(self, foreground: Tensor) -> BlockKV:
        """Return keys and values of the foreground tokens for each layer with attention."""
        return tuple(map_copies(layer, lambda own: own.keys_values(foreground)) for layer in self.attentions)

    def layer(
        self, i: int, x: Tensor, time: Tensor, clip: ClipShape, foreground: BlockKV, with_features: bool
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Apply a layer, recomputed in the backward pass where gradient checkpointing is on.

        Args:
            i: index of the layer.
            x: folded (b·m·f, c, h, w).
            time: time and modality embedding (b·m·f, time_dim).
            clip: sizes of the folded axes.
            foreground: keys and values of all layers.
            with_features: also return what the consistency losses need.
        """
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
            x = apply_per_modality(self.motion_modules[i], clip, x, num_frames=clip.f)
        return x, features

    def cross_modal_attention(self, x: Tensor, clip: ClipShape) -> Tensor:
        """Apply cross-modal attention, where the block has it.

        Args:
            x: folded (b·m·f, c, h, w).
            clip: sizes of the folded axes.
        """
        return x if self.cross_modal is None else self.cross_modal(x, clip)


class DownBlock(Block):
    """Layers, cross-modal attention, then halving of the resolution (not in the last block).

    Args:
        in_channels: channels of the input.
        channels: channels of all layers.
        layers: number of layers.
        attention: whether they have transformers.
        config: settings of all layers.
        downsample: whether the resolution is halved.
        window: frames that random-shift attention sees; None is all.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        layers: int,
        attention: bool,
        config: BlockConfig,
        downsample: bool,
        window: int | None = None,
    ) -> None:
        widths = [(in_channels if i == 0 else channels, channels) for i in range(layers)]
        super().__init__(widths, attention, config, config.cross_modal, window)
        down = partial(Downsample2D, channels, use_conv=True, name="op")
        self.downsamplers = nn.ModuleList([config.per_modality(down)] if downsample else [])

    def forward(
        self, x: Tensor, time: Tensor, clip: ClipShape, foreground: BlockKV, residual: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Apply the block.

        Args:
            x: folded (b·m·f, c, h, w).
            time: time and modality embedding (b·m·f, time_dim).
            clip: sizes of the folded axes.
            foreground: keys and values of all layers.
            residual: an adapter's (b, m or 1, f, c, h, w), added after the last layer.

        Returns:
            The output and the skip connections.
        """
        skips: list[Tensor] = []
        for i in range(len(self.resnets)):
            x, _ = self.layer(i, x, time, clip, foreground, with_features=False)
            skips.append(x)
        if residual is not None:  # before the skip is taken: an adapter reaches the decoder, too
            x = clip.add(x, residual)
        # the last skip carries what the modalities have exchanged
        skips[-1] = x = self.cross_modal_attention(x, clip)
        for downsample in self.downsamplers:
            x = apply_per_modality(downsample, clip, x)
            skips.append(x)
        return x, skips


class MidBlock(Block):
    """ResBlock, Transformer [, motion module], ResBlock [, random-shift attention over all frames]."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        super().__init__([(channels, channels)], attention=True, config=config, cross_modal=False)
        self.resnets.append(config.per_modality(partial(ResBlock, channels, channels, config)))

    def forward(self, x: Tensor, time: Tensor, clip: ClipShape, foreground: BlockKV) -> Tensor:
        """Apply the block.

        Args:
            x: folded (b·m·f, c, h, w).
            time: time and modality embedding (b·m·f, time_dim).
            clip: sizes of the folded axes.
            foreground: keys and values of the layer.
        """
        x, _ = self.layer(0, x, time, clip, foreground, with_features=False)
        return self.cross_modal_attention(self.resnets[1](x, time, clip), clip)


class UpBlock(Block):
    """Layers that each take a skip connection, cross-modal attention, then doubling of the resolution.

    Args:
        in_channels: channels of the input.
        channels: channels of all layers.
        skips: channels of the skip connection of each layer.
        attention: whether layers have transformers.
        config: settings of all layers.
        upsample: whether the resolution is doubled.
        window: frames that random-shift attention sees; None is all.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        skips: list[int],
        attention: bool,
        config: BlockConfig,
        upsample: bool,
        window: int | None = None,
    ) -> None:
        # each layer takes a skip connection beside the output of the one before
        widths = [((in_channels if i == 0 else channels) + skip, channels) for i, skip in enumerate(skips)]
        super().__init__(widths, attention, config, config.cross_modal, window)
        up = partial(Upsample2D, channels, use_conv=True)
        self.upsamplers = nn.ModuleList([config.per_modality(up)] if upsample else [])

    def forward(
        self,
        x: Tensor,
        skips: list[Tensor],
        time: Tensor,
        clip: ClipShape,
        foreground: BlockKV,
        with_features: bool,
    ) -> tuple[Tensor, BlockFeatures | None]:
        """Apply the block.

        Args:
            x: folded (b·m·f, c, h, w).
            skips: skip connections; those of this block are removed from the end.
            time: time and modality embedding (b·m·f, time_dim).
            clip: sizes of the folded axes.
            foreground: keys and values of all layers.
            with_features: also return the features of the last layer.
        """
        features = None
        for i in range(len(self.resnets)):
            last = i == len(self.resnets) - 1
            x = torch.cat([x, skips.pop()], dim=1)
            x, features = self.layer(i, x, time, clip, foreground, with_features and last)
        x = self.cross_modal_attention(x, clip)
        for upsample in self.upsamplers:
            # the size is that of the next skip connection, so that odd sizes work too
            x = apply_per_modality(upsample, clip, x, output_size=skips[-1].shape[-2:])
        return x, features
