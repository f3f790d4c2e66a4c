"""Noise, timesteps and foreground dropout of training samples, from their indices alone.

Each sample has its own generator, so that the distribution of samples over steps, processes and accumulated
batches changes nothing.
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
    """Noising of the network's inputs.

    Attributes:
        shared_timesteps: Draw one timestep for both modalities of a clip; otherwise one each, so that one
            modality can be given clean at inference.
        drop_foreground: Probability in [0, 1] that a sample has no foreground (classifier-free guidance).
        min_snr: Gamma of the min-SNR loss weight (Hang et al. 2023); None weighs all timesteps equally.
    """

    shared_timesteps: bool = True
    drop_foreground: float = 0.1
    min_snr: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.drop_foreground <= 1:
            raise ValueError(f"drop_foreground must lie in [0, 1], got {self.drop_foreground}")


@dataclass(frozen=True)
class NoiseSample:
    """Random numbers of a batch.

    Attributes:
        noise: (b, m, f, c, h, w) standard normal, float32.
        timesteps: (b, m).
        dropped: (b,) bool, True where the foreground is dropped.
    """

    noise: Tensor
    timesteps: Tensor
    dropped: Tensor

    def to(self, device: torch.device) -> NoiseSample:
        """Copy all tensors to `device`."""
        return NoiseSample(self.noise.to(device), self.timesteps.to(device), self.dropped.to(device))


def draw_noise(
    sample_indices: Sequence[int], seed: int, shape: torch.Size, schedule: Schedule, config: NoiseConfig
) -> NoiseSample:
    """Draw the random numbers of some samples.

    Args:
        sample_indices: Indices of the samples (b), counted over the whole run.
        seed: Seed of the run.
        shape: (b, m, f, c, h, w) of the latents.
        schedule: Distribution of timesteps.
        config: Sharing of timesteps and probability of dropout.
    """
    noises, timesteps, drops = [], [], []
    for index in sample_indices:
        # hashed: neighboring seeds of torch's generator are not independent; 3 separates it from other uses
        word = int(np.random.SeedSequence((seed, index, 3)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(word)
        noises.append(torch.randn(shape[1:], generator=generator))
        timesteps.append(schedule.sample_timesteps(generator, 1, shape[1], shared=config.shared_timesteps)[0])
        drops.append(torch.rand((), generator=generator) < config.drop_foreground)
    return NoiseSample(torch.stack(noises), torch.stack(timesteps), torch.stack(drops))
