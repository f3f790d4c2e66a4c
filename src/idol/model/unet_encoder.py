"""The encoder of the U-Net, which its ControlNets copy, and the records that pass between the networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from idol.model.blocks import Block, BlockKV, DownBlock, MidBlock
from idol.model.layers import BlockConfig
from idol.model.modality import ClipShape, ModalityEmbedding, apply_per_modality
from idol.model.random_shift import WINDOWS


@dataclass(frozen=True)
class Control:
    """Residuals that are added in the U-Net, each (b, m or 1, f, c, h, w).

    Attributes:
        down: one per skip connection (ControlNet).
        mid: after the middle block (ControlNet).
        intrablock: one per resolution, after the last layer of each down block (T2I-Adapter).
    """

    down: tuple[Tensor, ...] | None = None
    mid: Tensor | None = None
    intrablock: tuple[Tensor, ...] | None = None

    def __add__(self, other: Control) -> Control:
        """Add the residuals of two networks, e.g. of pose and background."""
        return Control(
            down=_sums(self.down, other.down),
            mid=other.mid if self.mid is None else self.mid if other.mid is None else self.mid + other.mid,
            intrablock=_sums(self.intrablock, other.intrablock),
        )


def _sums(a: tuple[Tensor, ...] | None, b: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
    if a is None or b is None:
        return b if a is None else a
    return tuple(x + y for x, y in zip(a, b, strict=True))


@dataclass(frozen=True)
class ForegroundKV:
    """Keys and values of all foreground attentions of a network: one computation per clip, not per step.

    Attributes:
        down: of each down block.
        mid: of the middle block.
        up: of each up block; empty for a ControlNet.
    """

    down: tuple[BlockKV, ...]
    mid: BlockKV
    up: tuple[BlockKV, ...] = ()


class UNetEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Base of U-Net and ControlNet: embedding of time and modality, down blocks, middle block."""

    conv_in: nn.Module
    time_proj: Timesteps
    time_embedding: nn.Module
    modality_embedding: ModalityEmbedding
    mid_block: MidBlock

    def _build_encoder(
        self,
        channels: Sequence[int],
        layers: int,
        attention: Sequence[bool],
        modalities: int,
        config: BlockConfig,
    ) -> None:
        self.time_proj = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = config.per_modality(partial(TimestepEmbedding, channels[0], config.time_dim))
        self.modality_embedding = ModalityEmbedding(modalities, config.time_dim)
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(channels):
            last = i == len(channels) - 1
            before = channels[max(i - 1, 0)]
            self.down_blocks.append(
                DownBlock(before, width, layers, attention[i], config, not last, window_at(i))
            )
        self.mid_block = MidBlock(channels[-1], config)
        self.up_blocks = nn.ModuleList()  # filled by the U-Net; a ControlNet has none

    def encode_foreground(self, foreground: Float[Tensor, "b n d"]) -> ForegroundKV:
        """Project foreground tokens to keys and values for all cross-attentions."""
        return ForegroundKV(
            down=tuple(block.keys_values(foreground) for block in cast(Iterable[Block], self.down_blocks)),
            mid=self.mid_block.keys_values(foreground),
            up=tuple(block.keys_values(foreground) for block in cast(Iterable[Block], self.up_blocks)),
        )

    def _embed_time(self, timestep: Tensor, clip: ClipShape, modality: Tensor | None) -> Tensor:
        """Return the embedding of time and modality of every image of the folded batch (b·m·f, time_dim)."""
        if timestep.ndim == 1:
            timestep = timestep[:, None].expand(clip.b, clip.m)
        # (b m) d: in float32 until here, for timesteps do not fit into bfloat16
        sinusoid = self.time_proj(timestep.reshape(-1)).to(self.dtype)
        embedded = apply_per_modality(self.time_embedding, replace(clip, f=1), sinusoid)
        labeled = self.modality_embedding.add_to(embedded.unflatten(0, (clip.b, clip.m)), modality)  # b m d
        return labeled.flatten(0, 1).repeat_interleave(clip.f, dim=0)

    def _encode(
        self,
        x: Tensor,
        time: Tensor,
        clip: ClipShape,
        kv: ForegroundKV,
        intrablock: tuple[Tensor, ...] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Apply down and middle blocks; returns the result and all skip connections."""
        skips = [x]  # the output of the first convolution is the first skip connection
        residuals = (None,) * len(self.down_blocks) if intrablock is None else intrablock
        for block, foreground, residual in zip(self.down_blocks, kv.down, residuals, strict=True):
            x, more = block(x, time, clip, foreground, residual)
            skips += more
        return self.mid_block(x, time, clip, kv.mid), skips


def window_at(level: int) -> int:
    """Return the frames that random-shift attention sees at a resolution, 0 the finest."""
    return WINDOWS[min(level, len(WINDOWS) - 1)]


def skip_channels(channels: Sequence[int], layers: int) -> list[int]:
    """Return the widths of the skip connections, in the order in which the down blocks make them.

    Args:
        channels: width at each resolution.
        layers: layers of a down block.
    """
    skips = [channels[0]]
    for i, width in enumerate(channels):
        skips += [width] * (layers + (i < len(channels) - 1))
    return skips
