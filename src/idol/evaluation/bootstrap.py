"""Cluster bootstrap over people: the resampling behind every confidence interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

People = Sequence[str]
"""The person each clip shows ("" if unknown); empty if it is known of no clip."""


def person_indices(clips: int, people: People) -> Int[np.ndarray, " clips"]:
    """Return the index of the person in each clip, from 0 in order of appearance.

    Args:
        clips: Number of clips.
        people: The person each clip shows. A clip without a name counts as a person of its own.

    Raises:
        ValueError: If the number of names is not the number of clips.
    """
    indices: dict[object, int] = {}
    names = people or ("",) * clips
    if len(names) != clips:
        raise ValueError(f"people: {len(names)} names for {clips} clips")
    return np.array([indices.setdefault(name or i, len(indices)) for i, name in enumerate(names)], np.int64)


def count_people(clips: int, people: People) -> int:
    """Count the distinct people.

    Args:
        clips: Number of clips.
        people: The person each clip shows; see `person_indices`.
    """
    return len(set(person_indices(clips, people).tolist()))


def describe_sample(clips: int, people: People) -> str:
    """Return a caption: how many clips and people there are, and what the intervals are over.

    Args:
        clips: Number of clips.
        people: The person each clip shows; see `person_indices`.
    """
    count = count_people(clips, people)
    text = f"{clips} {'clip' if clips == 1 else 'clips'} of "
    if count == 1:
        return f"{text}one person: no intervals"
    return f"{text}{count} people; 95 % intervals over people"


def resample_counts(clips: int, people: People, draws: int, seed: int = 0) -> Int[np.ndarray, "draws clips"]:
    """Draw bootstrap samples of people and return how often each clip is in each of them.

    Clips of one person resemble one another, and a new study would have other people. So people are drawn
    with replacement, each with all their clips (cluster bootstrap). Equal arguments give equal samples, which
    makes differences between columns paired.

    Args:
        clips: Number of clips.
        people: The person each clip shows; see `person_indices`.
        draws: Number of bootstrap samples.
        seed: Seed of the random generator.
    """
    person_of_clip = person_indices(clips, people)
    count = int(person_of_clip.max()) + 1
    chosen = np.random.default_rng(seed).integers(count, size=(draws, count))
    times_drawn = np.zeros((draws, count), np.int64)
    np.add.at(times_drawn, (np.arange(draws)[:, None], chosen), 1)
    return times_drawn[:, person_of_clip]


def widen_for_few_people(
    drawn: Float[np.ndarray, " draws"], value: float, count: int
) -> Float[np.ndarray, " draws"]:
    """Center bootstrap values at the sample's own value and widen them for a small number of people.

    The bootstrap's 95 % interval of the mean of n values is too narrow by sqrt((n - 1) / n), because the
    bootstrap variance divides by n, and by 1.96 / t, because it ignores Student's t with n - 1 degrees of
    freedom (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015). Deviations from the mean of
    the draws are multiplied by both factors: 1.44 for 6 people, 1.10 for 20.

    Args:
        drawn: The statistic on each bootstrap sample; not finite where it is undefined.
        value: The statistic on the sample itself.
        count: Number of people, at least 2.
    """
    from scipy.stats import norm, t

    factor = t.ppf(0.975, count - 1) / norm.ppf(0.975) * np.sqrt(count / (count - 1))
    with np.errstate(invalid="ignore"):
        return value + factor * (drawn - np.mean(drawn[np.isfinite(drawn)]))
