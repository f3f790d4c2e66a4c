"""Means over clips, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from idol.evaluation.bootstrap import People, drawn_counts, groups, head_count, spread

_DRAWS = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its 95 % bootstrap interval.

    Attributes:
        value: The mean, or the ratio of two means; NaN if there is nothing to average.
        low: 2.5th percentile over drawn sets of people, widened for few (`people.spread`); -inf if there is
            one person only, who tells nothing about others.
        high: 97.5th percentile; +inf if there is one person only.
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
        people: Whom each clip shows; see `people.drawn_counts`.
        seed: Of the drawn sets.
    """
    values = np.asarray(values, np.float64)
    return _estimate(values, np.ones_like(values), people, seed)


def ratio(values: np.ndarray, to: np.ndarray, people: People = (), seed: int = 0) -> Estimate:
    """Ratio of the means of two numbers per clip; clips without both are left out. Arguments as of `mean`."""
    return _estimate(np.asarray(values, np.float64), np.asarray(to, np.float64), people, seed)


def draws(values: np.ndarray, people: People = (), seed: int = 0) -> np.ndarray:
    """The mean on drawn sets of people, (4000,), spread; for the same people the same sets are drawn.

    Clips without a number (NaN) are left out; a draw without any number is NaN, and so is every draw if fewer
    than two people have one. Arguments as of `mean`.
    """
    values = np.asarray(values, np.float64)
    there = np.isfinite(values)
    count = np.unique(groups(values.size, people)[there]).size
    if count < 2:
        return np.full(_DRAWS, np.nan)
    counts = drawn_counts(values.size, people, _DRAWS, seed)
    with np.errstate(invalid="ignore"):
        drawn = counts @ np.where(there, values, 0) / (counts @ there)
    return spread(drawn, float(values[there].mean()), count)


def difference(a: Estimate, a_draws: np.ndarray, b: Estimate, b_draws: np.ndarray) -> Estimate:
    """How much larger a number is for one set than for another, of the same clips.

    What makes a clip hard is hard for both sets: so the interval is that of the differences on the same drawn
    people, which is narrower than the two sets' own intervals let one think. Without draws (`draws`: one
    person) it has no ends.
    """
    value, drawn = a.value - b.value, a_draws - b_draws
    if not np.isfinite(drawn).any():
        return Estimate(value, -np.inf, np.inf, min(a.clips, b.clips))
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
    shown = [people[i] for i in np.flatnonzero(both).tolist()] if people else ()
    value = float(above.sum() / below.sum())
    count = head_count(above.size, shown)
    if count < 2:
        return Estimate(value, -np.inf, np.inf, int(above.size))
    counts = drawn_counts(above.size, shown, _DRAWS, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = counts @ above / (counts @ below)
    low, high = np.nanpercentile(spread(resampled, value, count), [2.5, 97.5])
    return Estimate(value, float(low), float(high), int(above.size))
