"""The progress protocol: what long-running functions report, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Preview = Callable[[], "np.ndarray"]
"""Decodes the clip's middle frame beside its depth in their present state: (3, h, 2 w) uint8 sRGB."""


class ProgressCallback:
    """Receives the progress of a run. Every method does nothing; override those of interest."""

    def stage(self, name: str) -> None:
        """Begin a stage of the run; the steps that follow belong to it.

        `name` is a phrase such as "denoising 24 frames".
        """

    def note(self, text: str) -> None:
        """Receive a remark on the input that the user should know, one sentence."""

    def step(self, done: int, total: int) -> None:
        """Receive how much of the stage's work is done.

        Args:
            done: Finished units (windows, frames, clips), from 0 to `total`.
            total: All units of the stage.
        """

    def preview(self, frame: Preview) -> None:
        """Receive a function that decodes the present state; calling it takes the time of one decoding."""


SILENT = ProgressCallback()
"""Ignores all progress: the default of every function that reports some."""


@dataclass
class StepCounter:
    """Counts finished units and reports each.

    Attributes:
        progress: Receives the steps.
        total: Number of units.
        done: How many are finished.
    """

    progress: ProgressCallback
    total: int
    done: int = 0

    def advance(self) -> None:
        """Report one more finished unit."""
        self.done += 1
        self.progress.step(self.done, self.total)
