"""Optimizer, learning rate schedule and exponential moving average."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import nn
from torch.optim import AdamW

from idol.training.fsdp import local


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a learning rate schedule, and the EMA of the weights.

    Attributes:
        lr: Peak learning rate.
        betas: Decay rates of AdamW's two moments.
        weight_decay: Decoupled weight decay.
        warmup_steps: Steps over which the learning rate rises linearly to `lr`.
        lr_schedule: Shape of the decay to `final_lr_fraction` after the warm-up.
        final_lr_fraction: Last learning rate, as a fraction of `lr`, in [0, 1].
        max_grad_norm: Gradients are scaled down to this L2 norm; 0 does not clip.
        ema_decay: Decay of the EMA, in [0, 1); smaller in the first steps. 0 keeps the last weights.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-3
    warmup_steps: int = 0
    lr_schedule: Literal["constant", "linear", "cosine"] = "linear"
    final_lr_fraction: float = 0.0
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        fractions = 0 <= self.ema_decay < 1 and 0 <= self.final_lr_fraction <= 1
        if self.lr <= 0 or self.warmup_steps < 0 or not fractions:
            raise ValueError(
                "lr must be positive, warmup_steps at least 0, ema_decay in [0, 1) "
                "and final_lr_fraction in [0, 1]"
            )

    def learning_rate(self, step: int, total_steps: int) -> float:
        """Return the learning rate of one step.

        A function of the step alone, so that a resumed run needs no state of a scheduler.

        Args:
            step: Index of the step, from 0.
            total_steps: Steps of the run.
        """
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        match self.lr_schedule:
            case "constant":
                left = 1.0
            case "linear":
                left = 1 - done
            case "cosine":
                left = 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * (self.final_lr_fraction + (1 - self.final_lr_fraction) * max(0.0, left))


def build_optimizer(parameters: Sequence[nn.Parameter], config: OptimizerConfig) -> AdamW:
    """Build AdamW, fused into one kernel.

    Args:
        parameters: Parameters to optimize.
        config: Hyperparameters.
    """
    return AdamW(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)


Module = TypeVar("Module", bound=nn.Module)


class EMA(Generic[Module]):
    """Exponential moving average of a module's parameters.

    Args:
        module: Module to follow; its present parameters are the initial average.
        decay: Limit of the decay, which is min(decay, (1 + step) / (10 + step)) at a step.

    Attributes:
        module: Copy of the module that holds the average.
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.module: Module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self._followed = module

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the parameters after step `step` (from 0) to the average."""
        # early parameters are far from trained: a short memory at first forgets them
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.module.parameters(), self._followed.parameters(), strict=True)
        trained = [(local(mean), local(present.detach())) for mean, present in pairs if present.requires_grad]
        means, present = zip(*trained, strict=True)
        torch._foreach_lerp_(means, present, 1 - decay)
