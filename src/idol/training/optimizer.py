"""Optimizer, learning rate and weight averaging."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import nn
from torch.optim import AdamW

from idol.training.fsdp import own


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, and how its learning rate moves over a run."""

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-3
    warmup: int = 0
    """Steps over which the rate rises from 0."""
    decay: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls to `final` of itself after the warm-up."""
    final: float = 0.0
    """Last rate, as a fraction of `lr`."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    ema: float = 0.999
    """Decay of the averaged weights; less in the first steps. 0 keeps no memory."""

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.warmup < 0 or not 0 <= self.ema < 1 or not 0 <= self.final <= 1:
            raise ValueError("lr must be positive, warmup at least 0, ema in [0, 1), final in [0, 1]")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (from 0) of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, steps - self.warmup)
        match self.decay:
            case "constant":
                left = 1.0
            case "linear":
                left = 1 - done
            case "cosine":
                left = 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * (self.final + (1 - self.final) * max(0.0, left))


def build_optimizer(parameters: Sequence[nn.Parameter], config: OptimizerConfig) -> AdamW:
    """AdamW over `parameters`, fused into one kernel."""
    return AdamW(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)


Module = TypeVar("Module", bound=nn.Module)


class Average(Generic[Module]):
    """Exponential moving average of a module's weights.

    Args:
        module: Its present weights are the first average.
        decay: Towards which the decay rises: min(decay, (1 + step) / (10 + step)).
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.module: Module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self._followed = module

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.module.parameters(), self._followed.parameters(), strict=True)
        learning = [(own(kept), own(present.detach())) for kept, present in pairs if present.requires_grad]
        kept, present = zip(*learning, strict=True)
        torch._foreach_lerp_(kept, present, 1 - decay)
