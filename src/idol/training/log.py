"""What a run tells while it trains: TensorBoard scalars, a line of JSON each, and a progress bar."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class Log:
    """Averages what is told at each step and writes it every `every` steps.

    Args:
        folder: Run folder: ``log.jsonl`` and ``tensorboard/`` are written there.
        first: Step the run starts at; what an earlier run told of later steps is dropped.
        steps: Of the whole run.
        every: Steps between lines.
        silent: Write nothing (processes other than the first).
    """

    def __init__(self, folder: Path, first: int, steps: int, every: int, silent: bool) -> None:
        self.every, self.silent = every, silent
        self._sums: dict[str, Tensor] = {}
        self._count, self._since = 0, time.monotonic()
        if silent:
            return
        self._file = folder / "log.jsonl"
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[told]}"))
        self._task = self._progress.add_task("training", total=steps, completed=first, told="")

    def __enter__(self) -> Log:
        if not self.silent:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.silent:
            self._progress.stop()
            self._writer.close()

    def add(self, values: dict[str, Tensor]) -> None:
        """Take in one step's values; they stay on their device."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self._count += 1

    def due(self, step: int) -> bool:
        """Whether a line is written after `step` steps."""
        return step % self.every == 0 and self._count > 0

    def means(self) -> Tensor:
        """Means since the last line, in the order in which they were first told; forgets them."""
        means = torch.stack(list(self._sums.values())) / self._count
        self._names, self._sums = list(self._sums), {}
        return means

    def write(self, step: int, means: Tensor, rate: float) -> None:
        """Write a line: the means, the learning rate and the seconds a step took."""
        now = time.monotonic()
        line = dict(zip(self._names, means.tolist(), strict=True))
        line |= {"lr": rate, "seconds": (now - self._since) / self._count}
        self._since, self._count = now, 0
        if self.silent:
            return
        for name, value in line.items():
            self._writer.add_scalar(name, value, step)
        with self._file.open("a") as file:
            file.write(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in line.items()}}) + "\n")
        self._progress.update(self._task, completed=step, told=f"loss {line['loss']:.4f}")
