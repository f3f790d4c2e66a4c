"""The `m` axis: how the modalities of a clip, video and depth, share one batch.

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

from idol.clip.modality import Modality


@dataclass(frozen=True)
class ClipShape:
    """Sizes of the axes that are folded into the batch.

    Attributes:
        b: clips.
        m: modalities.
        f: frames.
        shift: where the windows of random-shift attention begin, in [0, 1) (`model.random_shift`).
        video: index of the video on the m axis, whose cross-attention maps others may apply.
    """

    b: int
    m: int
    f: int
    shift: float = 0.0
    video: int = Modality.VIDEO

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes by axis letter, as einops wants them."""
        return {"b": self.b, "m": self.m, "f": self.f}

    def unfold(self, x: Tensor) -> Tensor:
        """Reshape `(b·m·f, ...)` to `(b, m, f, ...)`, without a copy."""
        return x.unflatten(0, (self.b, self.m, self.f))

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """Add a residual, broadcast over modalities.

        Args:
            x: folded (b·m·f, ...).
            residual: (b, m or 1, f or 1, ...).
        """
        return (self.unfold(x) + residual).flatten(0, 2)


class ModalityEmbedding(nn.Embedding):
    """The label y of Sec. 3.1: one learned vector per modality, added to the time embedding.

    Initialized to zero, so that a model fresh from Stable Diffusion computes the same with it.
    """

    def reset_parameters(self) -> None:
        """Initialize to zero."""
        nn.init.zeros_(self.weight)

    def add_to(self, time_embedding: Tensor, modality: Tensor | None) -> Tensor:
        """Add the label of each modality.

        Args:
            time_embedding: (b, m, d).
            modality: labels (m,); 0, 1, ... by default.
        """
        if modality is None:
            modality = torch.arange(time_embedding.shape[1], device=time_embedding.device)
        return time_embedding + self(modality).to(time_embedding.dtype)


class ModalityTuple(tuple):
    """A value for each modality, distributed to the copies of a `PerModality` layer."""


class PerModality(nn.Module):
    """One copy of a layer for each modality, behind the layer's own call: networks that share no weights.

    Folded tensors are split by modality, a `ClipShape` becomes one of a single modality, each copy gets its
    entry of a `ModalityTuple`; everything else goes to every copy.

    Args:
        make: makes a copy.
        modalities: number of copies.
    """

    def __init__(self, make: Callable[[], nn.Module], modalities: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(make() for _ in range(modalities))

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Call each copy with its inputs, one of which is the `ClipShape`; returns what the layer returns."""
        clip = next(x for x in inputs if isinstance(x, ClipShape))
        return self.run(clip, lambda copy, *args: copy(*args, **options), *inputs)

    def run(self, clip: ClipShape, function: Callable[..., Any], *inputs: Any) -> Any:
        """Call `function(copy, *its inputs)` for each copy, and join the results.

        Args:
            clip: sizes of the folded axes.
            function: called once for each copy.
            *inputs: split by modality.

        Raises:
            ValueError: the clip does not have one modality for each copy.
        """
        if clip.m != len(self.copies):
            raise ValueError(f"sample: {clip.m} modalities, the network has weights for {len(self.copies)}")
        return _joined(
            [function(copy, *(_select(x, clip, m) for x in inputs)) for m, copy in enumerate(self.copies)],
            clip,
        )


def apply_per_modality(layer: nn.Module, clip: ClipShape, x: Tensor, **options: Any) -> Tensor:
    """Apply a layer that needs no `ClipShape`, or each modality's copy of it.

    Args:
        layer: of one input.
        clip: sizes of the folded axes.
        x: folded (b·m·f, ...).
        **options: passed on to the layer.
    """
    if isinstance(layer, PerModality):
        return layer.run(clip, lambda copy, part: copy(part, **options), x)
    return layer(x, **options)


def map_copies(layer: nn.Module, function: Callable[[Any], Any]) -> Any:
    """Call `function` with a layer, or with each modality's copy of it.

    Args:
        layer: may be `PerModality`.
        function: called with a layer.

    Returns:
        What the function returns; a `ModalityTuple` of it for copies.
    """
    return ModalityTuple(map(function, layer.copies)) if isinstance(layer, PerModality) else function(layer)


def _select(x: Any, clip: ClipShape, m: int) -> Any:
    match x:
        case Tensor():  # (b m f) ... -> (b f) ...
            return clip.unfold(x)[:, m].flatten(0, 1)
        case ClipShape():
            return replace(clip, m=1)
        case ModalityTuple():
            return x[m]
    return x


def _joined(parts: list[Any], clip: ClipShape) -> Any:
    match parts[0]:
        case None:
            return None
        case Tensor():  # (b f) ... each -> (b m f) ...
            return torch.stack([x.unflatten(0, (clip.b, clip.f)) for x in parts], 1).flatten(0, 2)
        case tuple():  # e.g. output and skip connections: join each
            return tuple(_joined(list(column), clip) for column in zip(*parts, strict=True))
    return parts[0].concatenate(parts)
