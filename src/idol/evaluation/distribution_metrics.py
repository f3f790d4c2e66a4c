"""Metrics of whole sets of clips: FID, KID, FVD and FID-VID, with intervals and a split-half baseline.

These metrics compare distributions, so that a handful of clips says little: covariances of 2048 features need
thousands of samples, and windows of one clip are hardly independent. Each value therefore comes with the
number of samples behind it, an interval over people, and a split-half baseline: what one half of the
reference clips gets against the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from idol.clip import Clip
from idol.evaluation.bootstrap import (
    People,
    count_people,
    describe_sample,
    person_indices,
    resample_counts,
    widen_for_few_people,
)
from idol.evaluation.clip_sets import check_names
from idol.evaluation.feature_extraction import METRICS, DistributionMetric, FeatureExtractor
from idol.evaluation.metrics.frechet import FrechetDistance, KernelDistance
from idol.evaluation.report import REFERENCE
from idol.progress import SILENT, ProgressCallback

if TYPE_CHECKING:
    from rich.table import Table

_DRAWS = 200
_SPLITS = 8


@dataclass(frozen=True)
class DistanceEstimate:
    """One distribution metric of one set of clips.

    Attributes:
        value: The distance to the reference clips; None if it cannot be computed.
        low: Lower end of the 95 % interval over people; None with fewer than two people.
        high: Upper end.
        clips: Number of clips that gave samples.
        samples: Number of frames or windows that they gave.
        note: Why there is no value or no interval, or how many clips were left out; "" otherwise.
        draws: The distance on bootstrap samples of people (`bootstrap.widen_for_few_people`), which are the
            same for every set of clips of the same people.
    """

    value: float | None
    low: float | None
    high: float | None
    clips: int
    samples: int
    note: str = ""
    draws: tuple[float, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain values without the draws."""
        return {key: value for key, value in asdict(self).items() if key != "draws"}


@dataclass(frozen=True)
class SplitHalfBaseline:
    """The distance of one half of the reference clips to the other half.

    It is above what two independent sets of full size would get, because each half has half the samples; a
    set that shows the reference's own people and scenes can get below it.

    Attributes:
        value: Mean over random splits by people; None if it cannot be computed.
        low: Smallest value of a split.
        high: Largest value of a split.
        people: People in each half.
        splits: Number of splits.
        note: Why there is no value; "" otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    people: int
    splits: int
    note: str = ""


@dataclass(frozen=True)
class DistributionReport:
    """Distribution metrics of several sets of clips, each against the same reference clips.

    Attributes:
        clips: Names of the clips.
        stride: Frames from one window to the next; None for half a window.
        columns: The distance of each set, by the set's name and the metric's key. The last set is `REFERENCE`
            itself, whose distance is 0, and of KID slightly negative, since each frame meets itself there.
        split_half: The split-half baseline of each metric, by key.
        weights: SHA-256 of each weight file that was used.
        people: The person each clip shows, "" where unknown; empty if unknown of all.
    """

    clips: tuple[str, ...]
    stride: int | None
    columns: dict[str, dict[str, DistanceEstimate]]
    split_half: dict[str, SplitHalfBaseline]
    weights: dict[str, str]
    people: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "clips": len(self.clips),
            "people": count_people(len(self.clips), self.people),
            "stride": {
                metric.key: self.stride or metric.window // 2
                for metric in METRICS
                if metric.key in self.split_half and metric.window > 1
            },
            "columns": {c: {k: d.to_json() for k, d in of.items()} for c, of in self.columns.items()},
            "floor": {key: asdict(baseline) for key, baseline in self.split_half.items()},
            "weights": dict(self.weights),
        }

    def table(self, title: str = "") -> Table:
        """Return a `rich` table, one column per set and one for the split-half baseline, notes below."""
        from rich.table import Table

        caption = describe_sample(len(self.clips), self.people)
        table = Table(title=title or None, caption="\n".join([caption, *self._notes()]))
        table.add_column("")
        for column in (*self.columns, "split-half baseline"):
            table.add_column(column, justify="right")
        for metric in METRICS:
            if metric.key in self.split_half:
                cells = [of[metric.key] for of in self.columns.values()]
                kind = "frames" if metric.window == 1 else "windows"
                first = f"{metric.title} ↓\n[dim]{max(cell.samples for cell in cells)} {kind}[/dim]"
                table.add_row(first, *map(_cell, cells), _cell(self.split_half[metric.key]))
        return table

    def _notes(self) -> list[str]:
        """Return the distinct notes of all distances."""
        rows: list[Mapping[str, DistanceEstimate | SplitHalfBaseline]]
        rows = [*self.columns.values(), self.split_half]
        notes = [f"{key}: {row[key].note}" for key in self.split_half for row in rows if row[key].note]
        return list(dict.fromkeys(notes))


def compare_distributions(
    columns: Mapping[str, Mapping[str, Clip]],
    reference: Mapping[str, Clip],
    extractor: FeatureExtractor,
    progress: ProgressCallback = SILENT,
) -> DistributionReport:
    """Compare sets of clips with the reference clips of the same names, as distributions.

    Args:
        columns: Sets of clips by column name; the first decides which clips are used.
        reference: The reference clips; may hold more.
        extractor: Networks that compute the features.
        progress: Receives one step per clip of each set.

    Raises:
        UserError: If a clip is missing from a set.
    """
    sets = {**columns, REFERENCE: reference}
    names = check_names(sets)
    features: dict[str, list[dict[str, np.ndarray]]] = {column: [] for column in sets}
    for column, clips in sets.items():
        for name in names:
            features[column].append(extractor.extract(clips[name].video))
            progress.step(sum(map(len, features.values())), len(names) * len(sets))
    people = tuple(reference[name].subject or "" for name in names)
    metrics, stride, weights = extractor.metrics(), extractor.stride, extractor.weights
    return report_from_features(names, features, metrics, stride, weights, people)


def report_from_features(
    names: tuple[str, ...],
    features: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    metrics: Sequence[DistributionMetric],
    stride: int | None = None,
    weights: Mapping[str, str] | None = None,
    people: tuple[str, ...] = (),
) -> DistributionReport:
    """Compute the distribution metrics from features.

    Args:
        names: Names of the clips.
        features: For each set, the last being `REFERENCE`, the features (n, d) of each clip by name.
        metrics: What to compute; see `FeatureExtractor.metrics`.
        stride: Frames between the windows that the features were computed on; None for half a window.
        weights: SHA-256 of the weight files, by name.
        people: The person each clip shows; see `bootstrap.person_indices`.
    """
    columns: dict[str, dict[str, DistanceEstimate]] = {column: {} for column in features}
    split_half: dict[str, SplitHalfBaseline] = {}
    for metric in metrics:
        samples = {column: [clip[metric.features] for clip in clips] for column, clips in features.items()}
        for column, of_column in samples.items():
            columns[column][metric.key] = estimate_distance(of_column, samples[REFERENCE], metric, people)
        split_half[metric.key] = split_half_baseline(samples[REFERENCE], metric, people)
    return DistributionReport(names, stride, columns, split_half, dict(weights or {}), people)


def estimate_distance(
    generated: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    metric: DistributionMetric,
    people: People = (),
    draws: int = _DRAWS,
) -> DistanceEstimate:
    """Return the distance of a set of clips to the reference clips, with its interval over people.

    People are drawn with replacement, each with all their clips and reference clips. A bootstrap sample has
    fewer distinct clips, which alone raises a Fréchet distance; so the draws give the width of the interval
    only, and are centered at the value.

    Args:
        generated: Features (n, d) of each clip.
        reference: Features (k, d) of each reference clip, in the same order.
        metric: The metric.
        people: The person each clip shows; see `bootstrap.person_indices`.
        draws: Number of bootstrap samples.
    """
    kept = [i for i, (a, b) in enumerate(zip(generated, reference, strict=True)) if len(a) and len(b)]
    pairs = [(generated[i], reference[i]) for i in kept]
    clips, samples = len(pairs), sum(len(a) for a, _ in pairs)
    left_out = len(generated) - clips
    note = f"{left_out} of {len(generated)} clips have fewer than {metric.window} frames" if left_out else ""
    if min(samples, sum(len(b) for _, b in pairs)) < 2:
        return DistanceEstimate(None, None, None, clips, samples, note or "fewer than two samples")
    distance = _distance(metric, *zip(*pairs, strict=True))
    value = distance(np.ones(clips))
    people_kept = [people[i] for i in kept] if people else ()
    count = count_people(clips, people_kept)
    if count < 2:
        return DistanceEstimate(value, None, None, clips, samples, note or "one person: no interval")
    drawn = np.array([distance(counts) for counts in resample_counts(clips, people_kept, draws)])
    drawn = widen_for_few_people(drawn, value, count)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    low = max(low, 0.0) if metric.distance == "frechet" else low  # the unbiased KID may be negative
    return DistanceEstimate(value, float(low), float(high), clips, samples, note, tuple(drawn.tolist()))


def split_half_baseline(
    reference: Sequence[np.ndarray], metric: DistributionMetric, people: People = (), splits: int = _SPLITS
) -> SplitHalfBaseline:
    """Return the distance between random halves of the reference clips, split by people.

    Args:
        reference: Features (n, d) of each clip.
        metric: The metric.
        people: The person each clip shows; see `bootstrap.person_indices`.
        splits: Number of random splits.
    """
    clips_of: dict[int, list[np.ndarray]] = {}
    for clip, person in zip(reference, person_indices(len(reference), people).tolist(), strict=True):
        if len(clip):
            clips_of.setdefault(person, []).append(clip)
    per_person = [np.concatenate(clips) for clips in clips_of.values()]
    half, rng = len(per_person) // 2, np.random.default_rng(0)
    if half == 0 or half * min(map(len, per_person)) < 2:
        return SplitHalfBaseline(None, None, None, half, 0, "too few people for two halves")
    values = []
    for _ in range(splits):
        order = rng.permutation(len(per_person))
        a, b = (np.concatenate([per_person[i] for i in of]) for of in (order[:half], order[half : 2 * half]))
        values.append(_distance(metric, [a], [b])(np.ones(1)))
    return SplitHalfBaseline(float(np.mean(values)), min(values), max(values), half, splits)


def _distance(
    metric: DistributionMetric, a: Sequence[np.ndarray], b: Sequence[np.ndarray]
) -> FrechetDistance | KernelDistance:
    return FrechetDistance(a, b) if metric.distance == "frechet" else KernelDistance(a, b)


def _cell(estimate: DistanceEstimate | SplitHalfBaseline) -> str:
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None:
        return "–"
    digits = 4 if abs(value) < 1 else 2
    interval = "" if low is None else f"\n[dim]{low:.{digits}f} – {high:.{digits}f}[/dim]"
    return f"{value:.{digits}f}{interval}"
