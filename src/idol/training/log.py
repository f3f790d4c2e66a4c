"""Log of a training run: TensorBoard scalars and lines of JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class TrainingLog:
    """Averages the values of each step and writes their means every few steps.

    Args:
        folder: Run folder; ``log.jsonl`` and ``tensorboard/`` are written there.
        first: Step that the run starts or resumes at; later entries of TensorBoard are dropped.
        every: Steps between lines.
        silent: Write nothing (processes other than the first).
    """

    def __init__(self, folder: Path, first: int, every: int, silent: bool) -> None:
        self.every, self.silent = every, silent
        self._sums: dict[str, Tensor] = {}
        self._count, self._since = 0, time.monotonic()
        self._newest: dict[str, float] = {}
        if not silent:
            self._file = folder / "log.jsonl"
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.silent:
            self._writer.close()

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one batch's scalars; they stay on their device, which avoids a synchronization."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self._count += 1

    @property
    def summary(self) -> str:
        """The newest line's loss, in words."""
        return f"loss {self._newest['loss']:.4f}" if self._newest else "loss not logged yet"

    def due(self, step: int) -> bool:
        """Return whether a line is written after `step` steps."""
        return step % self.every == 0 and self._count > 0

    def means(self) -> Tensor:
        """Return the means (names,) since the last line, in the order of `add`, and reset them."""
        means = torch.stack(list(self._sums.values())) / self._count
        self._names, self._sums = list(self._sums), {}
        return means

    def write(self, step: int, means: Tensor, learning_rate: float) -> None:
        """Write a line.

        Args:
            step: Steps done.
            means: (names,) means over processes, in the order of `means`.
            learning_rate: Learning rate of the last step.
        """
        now = time.monotonic()
        line = dict(zip(self._names, means.tolist(), strict=True))
        line |= {"lr": learning_rate, "seconds": (now - self._since) / self._count}
        self._since, self._count, self._newest = now, 0, line
        if self.silent:
            return
        for name, value in line.items():
            self._writer.add_scalar(name, value, step)
        with self._file.open("a") as file:
            file.write(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in line.items()}}) + "\n")
