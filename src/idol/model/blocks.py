"""The U-Net's building blocks: Stable Diffusion's, with the paper's layers added (Fig. 2, right).

    layer  = ResBlock [-> temporal convolution] -> Transformer [-> motion module]
    block  = layers -> cross-modal attention -> down- or upsampling

Tensors are folded, `(b·m·f, c, h, w)`. Parameters that Stable Diffusion has are named as in diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from idol.model.layers import (
    BlockConfig,
    BlockFeatures,
    CrossModalAttention,
    LayerKV,
    ResBlock,
    Transformer,
)
from idol.model.modality import ClipShape, apply_per_modality, map_copies
from idol.model.random_shift import RandomShiftAttention

BlockKV = tuple[LayerKV, ...]  # one per layer with attention


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
