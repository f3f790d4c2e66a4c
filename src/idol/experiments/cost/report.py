"""What was measured, as numbers and as a table."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from idol.experiments.cost.methods import TITLES, Precision


@dataclass(frozen=True)
class Cost:
    """What one method costs.

    Attributes:
        parameters: Of what is trained: U-Net, pose control, foreground encoder without CLIP.
        frozen: Parameters beside: autoencoder, CLIP, depth estimator.
        step_flops: Of one denoising step, a multiplication with its addition counted as 2.
        clip_flops: Of the whole clip: encoders, steps, decoder, depth estimation.
        arithmetic: In what its matrix products and convolutions were done, as seen while they were counted.
        seconds: Of the whole clip, of every round.
        memory: Bytes at the highest while the clip is made, weights included; None if unknown.
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
    """Costs by method, and of what.

    Attributes:
        costs: By the name of the method.
        frames: Of the clip.
        size: Of a frame, pixels a side.
        steps: Denoising steps.
        machine: What computed.
        threads: Of torch.
        weights: Their precision.
        torch: Its version.
    """

    costs: dict[str, Cost]
    frames: int
    size: int
    steps: int
    machine: str
    threads: int
    weights: Precision
    torch: str

    @property
    def arithmetic(self) -> tuple[str, ...]:
        """In what the methods computed; more than one if any did."""
        return tuple(sorted({name for cost in self.costs.values() for name in cost.arithmetic}))

    @property
    def conditions(self) -> str:
        """Machine and precision, in words."""
        arithmetic = " and ".join(self.arithmetic)
        plain = self.arithmetic == (self.weights,)
        how = f"all in {arithmetic}" if plain else f"weights {self.weights}, arithmetic {arithmetic}"
        return f"{self.machine}, threads: {self.threads}, {how}, torch {self.torch}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {**dataclasses.asdict(self), "arithmetic": list(self.arithmetic)}
        for name, cost in self.costs.items():
            values["costs"][name]["median_seconds"] = statistics.median(cost.seconds)
        return values

    def table(self) -> Table:
        """As Table 7, with medians and the least and most."""
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
