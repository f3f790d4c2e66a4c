"""Means over clips, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DRAWS = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its 95 % bootstrap interval.

    Attributes:
        value: The mean, or the ratio of two means; NaN if there is nothing to average.
        low: 2.5th percentile over resampled sets of clips.
        high: 97.5th percentile.
        clips: How many clips had a number.
    """

    value: float
    low: float
    high: float
    clips: int


def mean(values: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of one number per clip; clips without one (NaN) are left out."""
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    return _estimate(kept, np.ones_like(kept), seed)


def ratio(values: np.ndarray, to: np.ndarray, seed: int = 0) -> Estimate:
    """Ratio of the means of two numbers per clip; clips are drawn in pairs, those without both left out."""
    values, to = np.asarray(values, np.float64), np.asarray(to, np.float64)
    both = np.isfinite(values) & np.isfinite(to)
    return _estimate(values[both], to[both], seed)


def draws(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """The mean on drawn sets of clips, (n,), NaN left out; of as many clips the same sets are drawn."""
    values = np.asarray(values, np.float64)
    chosen = values[np.random.default_rng(seed).integers(values.size, size=(_DRAWS, values.size))]
    there = np.isfinite(chosen)
    with np.errstate(invalid="ignore"):
        return np.where(there, chosen, 0).sum(1) / there.sum(1)


def difference(a: Estimate, a_draws: np.ndarray, b: Estimate, b_draws: np.ndarray) -> Estimate:
    """How much larger a number is for one set than for another, of the same clips.

    What makes a clip hard is hard for both sets: so the interval is that of the differences on the same drawn
    clips, which is narrower than the two sets' own intervals let one think.
    """
    value, drawn = a.value - b.value, a_draws - b_draws
    low, high = value + np.nanpercentile(drawn, [2.5, 97.5]) - np.nanmean(drawn)
    return Estimate(value, float(low), float(high), min(a.clips, b.clips))


def _estimate(above: np.ndarray, below: np.ndarray, seed: int) -> Estimate:
    """sum(above) / sum(below) with its interval."""
    if above.size == 0 or below.sum() == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    draws = np.random.default_rng(seed).integers(above.size, size=(_DRAWS, above.size))
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = above[draws].sum(1) / below[draws].sum(1)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(above.sum() / below.sum()), float(low), float(high), int(above.size))
