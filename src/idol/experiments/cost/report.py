"""Measured costs, as values and as a table."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from idol.experiments.cost.methods import TITLES, Precision


@dataclass(frozen=True)
class MethodCost:
    """The cost of one method.

    Attributes:
        parameters: Trained parameters: U-Net, pose control, foreground encoder without CLIP.
        frozen: Other parameters: autoencoder, CLIP, depth estimator.
        step_flops: FLOPs of one denoising step; a multiplication with its addition counts as 2.
        clip_flops: FLOPs of the whole clip: encoders, steps, decoder, depth estimation.
        arithmetic: Precisions of its matrix products and convolutions, as seen while they were counted.
        seconds: Duration of the whole clip in every round.
        memory: Peak memory in bytes while the clip is generated, including weights; None if unknown.
    """

    parameters: int
    frozen: int
    step_flops: int
    clip_flops: int
    arithmetic: tuple[str, ...]
    seconds: tuple[float, ...]
    memory: int | None


@dataclass(frozen=True)
class CostReport:
    """Costs by method, and their conditions.

    Attributes:
        costs: By the name of the method.
        frames: Number of frames of the clip.
        size: Height and width of a frame in pixels.
        steps: Denoising steps.
        machine: Name of the GPU or processor.
        threads: Threads of torch.
        weights: Precision of the weights.
        torch: Version of torch.
    """

    costs: dict[str, MethodCost]
    frames: int
    size: int
    steps: int
    machine: str
    threads: int
    weights: Precision
    torch: str

    @property
    def arithmetic(self) -> tuple[str, ...]:
        """Precisions in which the methods computed."""
        return tuple(sorted({name for cost in self.costs.values() for name in cost.arithmetic}))

    @property
    def conditions(self) -> str:
        """Machine and precision, in words."""
        arithmetic = " and ".join(self.arithmetic)
        plain = self.arithmetic == (self.weights,)
        how = f"all in {arithmetic}" if plain else f"weights {self.weights}, arithmetic {arithmetic}"
        return f"{self.machine}, threads: {self.threads}, {how}, torch {self.torch}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {**dataclasses.asdict(self), "arithmetic": list(self.arithmetic)}
        for name, cost in self.costs.items():
            values["costs"][name]["median_seconds"] = statistics.median(cost.seconds)
        return values

    def table(self) -> Table:
        """Return a table like Table 7, with median, minimum and maximum durations."""
        rounds = len(next(iter(self.costs.values())).seconds)
        title = f"{self.frames} frames with depth at {self.size}², {self.steps} steps"
        table = Table(title=title, caption=f"{self.conditions}; rounds: {rounds}; weights are random")
        headings = "", "trained, M", "in all, M", "GFLOPs a step", "GFLOPs a clip", "memory, GB", "seconds"
        for heading in headings:
            table.add_column(heading, justify="right" if heading else "left")
        for name, cost in self.costs.items():
            low, middle, high = min(cost.seconds), statistics.median(cost.seconds), max(cost.seconds)
            table.add_row(
                TITLES[name],
                f"{cost.parameters / 1e6:,.1f}",
                f"{(cost.parameters + cost.frozen) / 1e6:,.1f}",
                f"{cost.step_flops / 1e9:,.1f}",
                f"{cost.clip_flops / 1e9:,.1f}",
                "?" if cost.memory is None else f"{cost.memory / 1e9:.2f}",
                f"{middle:.2f} ({low:.2f}–{high:.2f})",
            )
        return table
