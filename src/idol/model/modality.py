"""The `m` axis: how the video and the depth stream of a clip share one batch.

Inside the network every tensor is *folded*: `(b, m, f, ...)` becomes `(b·m·f, ...)`, so that each 2-D layer
of Stable Diffusion sees plain images. `ClipShape` remembers the three sizes, which is all an attention or a
temporal convolution needs to look along one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ClipShape:
    """Sizes of the axes that are folded into the batch: `b` batch, `m` modality, `f` frame.

    `shift`, in [0, 1), says where the windows of random-shift attention begin (`model.random_shift`); `video`
    is the place of the video stream, which matters where it lends its cross-attention maps.
    """

    b: int
    m: int
    f: int
    shift: float = 0.0
    video: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes by axis letter, as einops wants them."""
        return {"b": self.b, "m": self.m, "f": self.f}

    def unfold(self, x: Tensor) -> Tensor:
        """`(b·m·f, ...)` to `(b, m, f, ...)`; never copies."""
        return x.unflatten(0, (self.b, self.m, self.f))

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add a `(b, m or 1, f, ...)` residual to a folded tensor, broadcasting over modalities."""
        return (self.unfold(x) + residual).flatten(0, 2)


class ModalityEmbedding(nn.Embedding):
    """The label y of Sec. 3.1: one learned vector per modality, added to the time embedding.

    Zero at the start, so that a model fresh from Stable Diffusion does not notice it.
    """

    def reset_parameters(self) -> None:
        """Start from zero."""
        nn.init.zeros_(self.weight)

    def add_to(self, time_embedding: Tensor, modality: Tensor | None) -> Tensor:
        """Label each stream of `time_embedding` (b, m, d); `modality` (m,) defaults to 0, 1, ..."""
        if modality is None:
            modality = torch.arange(time_embedding.shape[1], device=time_embedding.device)
        return time_embedding + self(modality).to(time_embedding.dtype)


class Streams(tuple):
    """Something of each modality, for the copies of a `PerModality` layer."""


class PerModality(nn.Module):
    """One copy of a layer for each modality, behind the layer's own call: networks that share no weights.

    Folded tensors are parted by modality, a `ClipShape` is told that there is one, `Streams` are handed out;
    everything else goes to every copy.

    Args:
        make: Makes a copy.
        modalities: How many.
    """

    def __init__(self, make: Callable[[], nn.Module], modalities: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(make() for _ in range(modalities))

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """As the layer's own; one of the inputs is the `ClipShape`."""
        clip = next(x for x in inputs if isinstance(x, ClipShape))
        return self.run(clip, lambda copy, *own: copy(*own, **options), *inputs)

    def run(self, clip: ClipShape, function: Callable[..., Any], *inputs: Any) -> Any:
        """`function(copy, *its inputs)` for each copy, joined again.

        Raises:
            ValueError: If the clip has not one stream for each copy.
        """
        if clip.m != len(self.copies):
            raise ValueError(f"sample: {clip.m} modalities, the network has weights for {len(self.copies)}")
        return _joined(
            [function(copy, *(_stream(x, clip, m) for x in inputs)) for m, copy in enumerate(self.copies)],
            clip,
        )


def on(layer: nn.Module, clip: ClipShape, x: Tensor, **options: Any) -> Tensor:
    """Run a layer that needs no `ClipShape` on folded `x`."""
    if isinstance(layer, PerModality):
        return layer.run(clip, lambda copy, own: copy(own, **options), x)
    return layer(x, **options)


def of_each(layer: nn.Module, function: Callable[[Any], Any]) -> Any:
    """`function` of the layer, or `Streams` of it of every copy."""
    return Streams(map(function, layer.copies)) if isinstance(layer, PerModality) else function(layer)


def _stream(x: Any, clip: ClipShape, m: int) -> Any:
    match x:
        case Tensor():
            return clip.unfold(x)[:, m].flatten(0, 1)
        case ClipShape():
            return replace(clip, m=1)
        case Streams():
            return x[m]
    return x


def _joined(parts: list[Any], clip: ClipShape) -> Any:
    match parts[0]:
        case None:
            return None
        case Tensor():
            return torch.stack([x.unflatten(0, (clip.b, clip.f)) for x in parts], 1).flatten(0, 2)
        case tuple():
            return tuple(_joined(list(column), clip) for column in zip(*parts, strict=True))
    return parts[0].joined(parts)
