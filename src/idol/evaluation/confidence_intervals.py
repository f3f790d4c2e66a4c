"""Means over clips with 95 % confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from idol.evaluation.bootstrap import (
    People,
    count_people,
    person_indices,
    resample_counts,
    widen_for_few_people,
)

_DRAWS = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its 95 % bootstrap interval.

    Attributes:
        value: The mean, or the ratio of two means; NaN if no clip has a value.
        low: 2.5th percentile over bootstrap samples of people (`bootstrap.widen_for_few_people`); -inf with
            a single person, which says nothing about others.
        high: 97.5th percentile; +inf with a single person.
        clips: Number of clips that have a value.
    """

    value: float
    low: float
    high: float
    clips: int


def mean(values: np.ndarray, people: People = (), seed: int = 0) -> Estimate:
    """Return the mean of one value per clip; clips without one (NaN) are left out.

    Args:
        values: (n,) one value per clip.
        people: The person each clip shows; see `bootstrap.person_indices`.
        seed: Seed of the bootstrap samples.
    """
    values = np.asarray(values, np.float64)
    return _estimate(values, np.ones_like(values), people, seed)


def ratio(values: np.ndarray, to: np.ndarray, people: People = (), seed: int = 0) -> Estimate:
    """Return the ratio of two means; clips that lack either value are left out.

    Args:
        values: (n,) numerator of each clip.
        to: (n,) denominator of each clip.
        people: The person each clip shows; see `bootstrap.person_indices`.
        seed: Seed of the bootstrap samples.
    """
    return _estimate(np.asarray(values, np.float64), np.asarray(to, np.float64), people, seed)


def bootstrap_means(values: np.ndarray, people: People = (), seed: int = 0) -> np.ndarray:
    """Return the mean on each of 4000 bootstrap samples, widened for few people.

    Equal `people` and `seed` give the same samples, so that columns can be subtracted draw by draw.

    Args:
        values: (n,) one value per clip; NaN is left out.
        people: The person each clip shows; see `bootstrap.person_indices`.
        seed: Seed of the bootstrap samples.

    Returns:
        (4000,) means. NaN for a sample without any value, and everywhere if fewer than two people have one.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    count = np.unique(person_indices(values.size, people)[finite]).size
    if count < 2:
        return np.full(_DRAWS, np.nan)
    counts = resample_counts(values.size, people, _DRAWS, seed)
    with np.errstate(invalid="ignore"):
        drawn = counts @ np.where(finite, values, 0) / (counts @ finite)
    return widen_for_few_people(drawn, float(values[finite].mean()), count)


def difference(a: Estimate, a_draws: np.ndarray, b: Estimate, b_draws: np.ndarray) -> Estimate:
    """Return a - b for two columns measured on the same clips, with the interval of the paired difference.

    A clip that is hard for one column is hard for the other, so the paired interval is narrower than the
    intervals of the two columns suggest.

    Args:
        a: The first column's mean.
        a_draws: Its `bootstrap_means`.
        b: The second column's mean.
        b_draws: Its `bootstrap_means`, of the same people and seed.

    Returns:
        The difference; with an infinite interval if the draws are all NaN (a single person).
    """
    value, drawn = a.value - b.value, a_draws - b_draws
    if not np.isfinite(drawn).any():
        return Estimate(value, -np.inf, np.inf, min(a.clips, b.clips))
    low, high = value + np.nanpercentile(drawn, [2.5, 97.5]) - np.nanmean(drawn)
    return Estimate(value, float(low), float(high), min(a.clips, b.clips))


def _estimate(numerator: np.ndarray, denominator: np.ndarray, people: People, seed: int) -> Estimate:
    """Return sum(numerator) / sum(denominator) over the clips that have both, with its interval."""
    both = np.isfinite(numerator) & np.isfinite(denominator)
    numerator, denominator = numerator[both], denominator[both]
    if numerator.size == 0 or denominator.sum() == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    if people and len(people) != both.size:
        raise ValueError(f"people: {len(people)} names for {both.size} clips")
    people_left = [people[i] for i in np.flatnonzero(both).tolist()] if people else ()
    value = float(numerator.sum() / denominator.sum())
    count = count_people(numerator.size, people_left)
    if count < 2:
        return Estimate(value, -np.inf, np.inf, int(numerator.size))
    counts = resample_counts(numerator.size, people_left, _DRAWS, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = counts @ numerator / (counts @ denominator)
    low, high = np.nanpercentile(widen_for_few_people(resampled, value, count), [2.5, 97.5])
    return Estimate(value, float(low), float(high), int(numerator.size))
