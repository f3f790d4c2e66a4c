"""The `m` axis: how the video and the depth stream of a clip share one batch.

Inside the network every tensor is *folded*: `(b, m, f, ...)` becomes `(b·m·f, ...)`, so that each 2-D layer
of Stable Diffusion sees plain images. `ClipShape` remembers the three sizes, which is all an attention or a
temporal convolution needs to look along one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ClipShape:
    """Sizes of the axes that are folded into the batch: `b` batch, `m` modality, `f` frame."""

    b: int
    m: int
    f: int

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
