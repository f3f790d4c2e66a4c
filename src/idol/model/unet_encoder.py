"""The trunk of the network: what the U-Net and its pose ControlNet have in common, and what they exchange."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from idol.model.blocks import Block, BlockKV, DownBlock, MidBlock, Sizes
from idol.model.convert.state_dict import transfer
from idol.model.modality import ClipShape, ModalityEmbedding, on
from idol.model.random_shift import WINDOWS

AnyTrunk = TypeVar("AnyTrunk", bound="Trunk")


@dataclass(frozen=True)
class Control:
    """Residuals by which a pose steers the U-Net, each (b, m or 1, f, c, h, w).

    Attributes:
        down: one per skip connection (ControlNet).
        mid: after the middle block (ControlNet).
        intrablock: one per resolution, after the last layer of each down block (T2I-Adapter).
    """

    down: tuple[Tensor, ...] | None = None
    mid: Tensor | None = None
    intrablock: tuple[Tensor, ...] | None = None

    def __add__(self, other: Control) -> Control:
        """Both at once, as DisCo steers by pose and background."""
        return Control(
            down=_sums(self.down, other.down),
            mid=other.mid if self.mid is None else self.mid if other.mid is None else self.mid + other.mid,
            intrablock=_sums(self.intrablock, other.intrablock),
        )

    def scaled(self, factor: float) -> Control:
        """The same control, `factor` times as strong."""
        return Control(
            down=None if self.down is None else tuple(r * factor for r in self.down),
            mid=None if self.mid is None else self.mid * factor,
            intrablock=None if self.intrablock is None else tuple(r * factor for r in self.intrablock),
        )


def _sums(a: tuple[Tensor, ...] | None, b: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
    if a is None or b is None:
        return b if a is None else a
    return tuple(x + y for x, y in zip(a, b, strict=True))


@dataclass(frozen=True)
class ForegroundKV:
    """Keys and values of every foreground attention of a network: one computation per clip, not per step."""

    down: tuple[BlockKV, ...]
    mid: BlockKV
    up: tuple[BlockKV, ...] = ()


class Trunk(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The half that the U-Net and the ControlNet share: time and modality, down blocks, middle block."""

    conv_in: nn.Module
    time_proj: Timesteps
    time_embedding: nn.Module
    modality_embedding: ModalityEmbedding
    mid_block: MidBlock

    def _build_trunk(
        self, channels: Sequence[int], layers: int, attention: Sequence[bool], modalities: int, sizes: Sizes
    ) -> None:
        self.time_proj = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = sizes.own(partial(TimestepEmbedding, channels[0], sizes.time_dim))
        self.modality_embedding = ModalityEmbedding(modalities, sizes.time_dim)
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(channels):
            last = i == len(channels) - 1
            before = channels[max(i - 1, 0)]
            self.down_blocks.append(
                DownBlock(before, width, layers, attention[i], sizes, not last, window_at(i))
            )
        self.mid_block = MidBlock(channels[-1], sizes)
        self.up_blocks = nn.ModuleList()  # the U-Net's; a ControlNet has none

    def with_layers(self: AnyTrunk, **changes: Any) -> AnyTrunk:
        """A copy under a changed config, e.g. `temporal="handcrafted"` to go from images to clips.

        Weights that both networks have are copied; layers that only the copy has start silent.
        """
        names = inspect.signature(type(self).__init__).parameters.keys() - {"self"}
        network = type(self)(**{name: self.config[name] for name in names} | changes)
        transfer(network, self.state_dict())
        return network

    def encode_foreground(self, foreground: Float[Tensor, "b n d"]) -> ForegroundKV:
        """Project the foreground tokens for every cross-attention, once for a whole sampling run."""
        return ForegroundKV(
            down=tuple(block.keys_values(foreground) for block in cast(Iterable[Block], self.down_blocks)),
            mid=self.mid_block.keys_values(foreground),
            up=tuple(block.keys_values(foreground) for block in cast(Iterable[Block], self.up_blocks)),
        )

    def _embed_time(self, timestep: Tensor, clip: ClipShape, modality: Tensor | None) -> Tensor:
        """Time and modality embedding of every image of the folded batch (b·m·f, time_dim)."""
        if timestep.ndim == 1:
            timestep = timestep[:, None].expand(clip.b, clip.m)
        sinusoid = self.time_proj(timestep.reshape(-1)).to(self.dtype)
        streams = on(self.time_embedding, replace(clip, f=1), sinusoid).unflatten(0, (clip.b, clip.m))
        labeled = self.modality_embedding.add_to(streams, modality)
        return labeled.flatten(0, 1).repeat_interleave(clip.f, dim=0)

    def _descend(
        self,
        x: Tensor,
        time: Tensor,
        clip: ClipShape,
        kv: ForegroundKV,
        intrablock: tuple[Tensor, ...] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Down and middle blocks; returns the bottom and all skips."""
        skips = [x]
        residuals = (None,) * len(self.down_blocks) if intrablock is None else intrablock
        for block, foreground, residual in zip(self.down_blocks, kv.down, residuals, strict=True):
            x, more = block(x, time, clip, foreground, residual)
            skips += more
        return self.mid_block(x, time, clip, kv.mid), skips


def window_at(level: int) -> int:
    """Frames that random-shift attention sees at a resolution, 0 the finest."""
    return WINDOWS[min(level, len(WINDOWS) - 1)]


def skip_channels(channels: Sequence[int], layers: int) -> list[int]:
    """Widths of the skip connections, in the order in which the down blocks make them."""
    skips = [channels[0]]
    for i, width in enumerate(channels):
        skips += [width] * (layers + (i < len(channels) - 1))
    return skips
