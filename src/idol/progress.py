"""Who hears how a run goes: the terminal, the web page, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Preview = Callable[[], np.ndarray]
"""Decodes a clip's middle frame and its depth as they are by now: (3, h, 2 w) uint8 sRGB, side by side."""

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Given what is done, shows how far it is: called with (done, total)."""


def unheard(_done: int, _total: int) -> None:
    """Progress that nobody follows."""


def no_bar(_what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """The bar that nobody sees."""
    return nullcontext(unheard)


@dataclass
class Count:
    """Counts what is done of a total, and tells it.

    Attributes:
        tell: Called with (done, total).
        total: How many there are.
        done: How many are behind us.
    """

    tell: Callable[[int, int], None]
    total: int
    done: int = 0

    def one_more(self) -> None:
        """One more is behind us."""
        self.done += 1
        self.tell(self.done, self.total)


class Listener(Protocol):
    """Hears how a run goes."""

    def stage(self, what: str) -> None:
        """Something that takes a while begins."""

    def note(self, text: str) -> None:
        """Something the user should know about their input."""

    def step(self, done: int, total: int) -> None:
        """`done` of `total` pieces of the stage's work are behind us: windows denoised, frames decoded."""

    def preview(self, frame: Preview) -> None:
        """Between two steps: `frame()` shows what has formed so far, for those who want to wait for it."""


class Reporter:
    """The listener that tells nobody."""

    def stage(self, what: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def step(self, done: int, total: int) -> None:
        """Nothing."""

    def preview(self, frame: Preview) -> None:
        """Nothing."""
