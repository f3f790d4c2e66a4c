"""Means over clips, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

People = Sequence[str]
"""Whom each clip shows; empty if that is not known."""

_DRAWS = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its 95 % bootstrap interval.

    Attributes:
        value: The mean, or the ratio of two means; NaN if there is nothing to average.
        low: 2.5th percentile over drawn sets of people.
        high: 97.5th percentile.
        clips: How many clips had a number.
    """

    value: float
    low: float
    high: float
    clips: int


def mean(values: np.ndarray, people: People = (), seed: int = 0) -> Estimate:
    """Mean of one number per clip; clips without one (NaN) are left out.

    Args:
        values: (n,) numbers.
        people: Whom each clip shows; see `drawn_counts`.
        seed: Of the drawn sets.
    """
    values = np.asarray(values, np.float64)
    return _estimate(values, np.ones_like(values), people, seed)


def ratio(values: np.ndarray, to: np.ndarray, people: People = (), seed: int = 0) -> Estimate:
    """Ratio of the means of two numbers per clip; clips without both are left out. Arguments as of `mean`."""
    return _estimate(np.asarray(values, np.float64), np.asarray(to, np.float64), people, seed)


def draws(values: np.ndarray, people: People = (), seed: int = 0) -> np.ndarray:
    """The mean on drawn sets of clips, (4000,), NaN left out; for the same people the same sets are drawn."""
    values = np.asarray(values, np.float64)
    counts = drawn_counts(values.size, people, _DRAWS, seed)
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return counts @ np.where(there, values, 0) / (counts @ there)


def drawn_counts(clips: int, people: People, draws: int, seed: int = 0) -> Int[np.ndarray, "draws clips"]:
    """How often each clip is in sets that are drawn with repetition.

    Clips of one person resemble one another, and the next study has other people: so people are drawn, each
    with all their clips (the cluster bootstrap).

    Args:
        clips: How many there are.
        people: Whom each clip shows; "" or nothing at all: somebody who is in no other clip.
        draws: How many sets.
        seed: Of the drawing.
    """
    shown = groups(clips, people)
    count = int(shown.max()) + 1
    chosen = np.random.default_rng(seed).integers(count, size=(draws, count))
    times = np.zeros((draws, count), np.int64)
    np.add.at(times, (np.arange(draws)[:, None], chosen), 1)
    return times[:, shown]


def groups(clips: int, people: People) -> Int[np.ndarray, " clips"]:
    """The number of the person whom each clip shows, from 0 in order of appearance."""
    numbers: dict[object, int] = {}
    names = people or ("",) * clips
    if len(names) != clips:
        raise ValueError(f"people: {len(names)} names for {clips} clips")
    return np.array([numbers.setdefault(name or i, len(numbers)) for i, name in enumerate(names)], np.int64)


def difference(a: Estimate, a_draws: np.ndarray, b: Estimate, b_draws: np.ndarray) -> Estimate:
    """How much larger a number is for one set than for another, of the same clips.

    What makes a clip hard is hard for both sets: so the interval is that of the differences on the same drawn
    clips, which is narrower than the two sets' own intervals let one think.
    """
    value, drawn = a.value - b.value, a_draws - b_draws
    low, high = value + np.nanpercentile(drawn, [2.5, 97.5]) - np.nanmean(drawn)
    return Estimate(value, float(low), float(high), min(a.clips, b.clips))


def _estimate(above: np.ndarray, below: np.ndarray, people: People, seed: int) -> Estimate:
    """sum(above) / sum(below) with its interval, over the clips that have both."""
    both = np.isfinite(above) & np.isfinite(below)
    above, below = above[both], below[both]
    if above.size == 0 or below.sum() == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    if people and len(people) != both.size:
        raise ValueError(f"people: {len(people)} names for {both.size} clips")
    shown = [people[i] for i in np.flatnonzero(both)] if people else ()
    counts = drawn_counts(above.size, shown, _DRAWS, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = counts @ above / (counts @ below)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(above.sum() / below.sum()), float(low), float(high), int(above.size))
