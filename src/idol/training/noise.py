"""Noise, times and dropped foregrounds of training samples, from their numbers alone.

Each sample has a generator of its own: how samples are spread over steps, processes and accumulated parts
changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from idol.diffusion.schedule import Schedule


@dataclass(frozen=True)
class NoiseConfig:
    """How noisy the network's inputs are."""

    shared_times: bool = True
    """One time for both modalities of a clip; else each has its own, so that one can be given clean later."""
    drop_foreground: float = 0.1
    """Share of samples without foreground, for classifier-free guidance."""
    min_snr: float | None = None
    """Gamma of the min-SNR weight of the loss; None weighs all times alike."""

    def __post_init__(self) -> None:
        if not 0 <= self.drop_foreground <= 1:
            raise ValueError(f"drop_foreground must lie in [0, 1], got {self.drop_foreground}")


@dataclass(frozen=True)
class Noising:
    """What is drawn for a batch."""

    noise: Tensor
    """As the latents, float32."""
    times: Tensor
    """(b, m)"""
    dropped: Tensor
    """(b,) bool"""

    def to(self, device: torch.device) -> Noising:
        """All tensors on `device`."""
        return Noising(self.noise.to(device), self.times.to(device), self.dropped.to(device))


def draw_noise(
    numbers: Sequence[int], seed: int, shape: torch.Size, schedule: Schedule, config: NoiseConfig
) -> Noising:
    """Draw for the samples `numbers`.

    Args:
        numbers: Of the samples, counted over the whole run.
        seed: Of the run.
        shape: (b, m, f, c, h, w) of the latents.
        schedule: Draws times.
        config: See `NoiseConfig`.
    """
    noises, times, drops = [], [], []
    for number in numbers:
        word = int(np.random.SeedSequence((seed, number, 3)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(word)
        noises.append(torch.randn(shape[1:], generator=generator))
        times.append(schedule.sample_times(generator, 1, shape[1], shared=config.shared_times)[0])
        drops.append(torch.rand((), generator=generator) < config.drop_foreground)
    return Noising(torch.stack(noises), torch.stack(times), torch.stack(drops))
