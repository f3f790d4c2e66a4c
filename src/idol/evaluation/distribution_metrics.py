"""Metrics of a whole set of clips: FID, KID, FVD and FID-VID, each with its interval and its floor.

They compare distributions, so that a handful of clips says little: covariances of 2048 features want
thousands of samples, and windows of one clip are hardly independent. Each number therefore comes with how
many samples it is made from, an interval over people, and the floor: what the true clips get against
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from idol.clip import Clip
from idol.evaluation.bootstrap import People, described, drawn_counts, groups, head_count, spread
from idol.evaluation.clip_sets import check_names
from idol.evaluation.feature_extraction import METRICS, Networks, SetMetric
from idol.evaluation.metrics.frechet import ClipsFrechet, ClipsKid
from idol.evaluation.report import TRUE

if TYPE_CHECKING:
    from rich.table import Table

_DRAWS = 200
_SPLITS = 8


@dataclass(frozen=True)
class Distance:
    """One metric of one set of clips.

    Attributes:
        value: The distance to the true clips; None if it cannot be computed.
        low: Lower end of the 95 % interval over people; None with fewer than two.
        high: Upper end.
        clips: How many clips gave samples.
        samples: How many frames or windows they gave.
        note: Why there is no value or no interval, or how many clips were left out; else "".
        draws: The distance on drawn sets of people (`people.spread`); the same are drawn for every set of
            clips of the same people.
    """

    value: float | None
    low: float | None
    high: float | None
    clips: int
    samples: int
    note: str = ""
    draws: tuple[float, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the draws."""
        return {key: value for key, value in asdict(self).items() if key != "draws"}


@dataclass(frozen=True)
class Floor:
    """What the true clips get against themselves: one half against the other.

    Half as many samples on each side make it higher than it would be of two independent sets of full size,
    and a set that shows the people and places of the true clips can fall below it.

    Attributes:
        value: Mean over random splits by people; None if it cannot be computed.
        low: Lowest of the splits.
        high: Highest.
        people: In each half.
        splits: How many splits.
        note: Why there is no value.
    """

    value: float | None
    low: float | None
    high: float | None
    people: int
    splits: int
    note: str = ""


@dataclass(frozen=True)
class SetReport:
    """Set metrics of several sets of clips, each against the same true clips.

    Attributes:
        clips: Names of the clips.
        stride: Frames from one window to the next; None: half a window.
        columns: Distance of each set by its name and the metric's key. The last set is `TRUE` itself, which
            gets 0, and of KID a little less, as each frame there meets itself.
        floor: Floor of each metric.
        weights: SHA-256 of each weight file that was used.
        people: Whom each clip shows, "" where that is not said; empty: nobody is in two clips.
    """

    clips: tuple[str, ...]
    stride: int | None
    columns: dict[str, dict[str, Distance]]
    floor: dict[str, Floor]
    weights: dict[str, str]
    people: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "clips": len(self.clips),
            "people": head_count(len(self.clips), self.people),
            "stride": {
                metric.key: self.stride or metric.window // 2
                for metric in METRICS
                if metric.key in self.floor and metric.window > 1
            },
            "columns": {c: {k: d.to_json() for k, d in found.items()} for c, found in self.columns.items()},
            "floor": {key: asdict(floor) for key, floor in self.floor.items()},
            "weights": dict(self.weights),
        }

    def table(self, title: str = "") -> Table:
        """A `rich` table, one column per set and one for the floor; notes stand below."""
        from rich.table import Table

        caption = f"{described(len(self.clips), self.people)}; floor: halves of the true clips"
        table = Table(title=title or None, caption="\n".join([caption, *self._notes()]))
        table.add_column("")
        for column in (*self.columns, "floor"):
            table.add_column(column, justify="right")
        for metric in METRICS:
            if metric.key in self.floor:
                cells = [found[metric.key] for found in self.columns.values()]
                kind = "frames" if metric.window == 1 else "windows"
                first = f"{metric.title} ↓\n[dim]{max(cell.samples for cell in cells)} {kind}[/dim]"
                table.add_row(first, *map(_cell, cells), _cell(self.floor[metric.key]))
        return table

    def _notes(self) -> list[str]:
        """What the distances say about themselves, each once."""
        rows: list[Mapping[str, Distance | Floor]] = [*self.columns.values(), self.floor]
        notes = [f"{key}: {row[key].note}" for key in self.floor for row in rows if row[key].note]
        return list(dict.fromkeys(notes))


def set_metrics(
    columns: Mapping[str, Mapping[str, Clip]],
    true: Mapping[str, Clip],
    networks: Networks,
    progress: Callable[[int, int], None] | None = None,
) -> SetReport:
    """Compare sets of clips with the true clips of the same names, as sets.

    Args:
        columns: Sets of clips by the name of their column; the first decides which clips are looked at.
        true: The true clips; may hold more.
        networks: What looks at them, and at which windows.
        progress: Told (clips done, clips) after each clip of each set.

    Raises:
        UserError: If a clip is missing from a set.
    """
    sets = {**columns, TRUE: true}
    names = check_names(sets)
    seen: dict[str, list[dict[str, np.ndarray]]] = {column: [] for column in sets}
    for column, clips in sets.items():
        for name in names:
            seen[column].append(networks.look(clips[name].video))
            if progress:
                progress(sum(map(len, seen.values())), len(names) * len(sets))
    people = tuple(true[name].subject or "" for name in names)
    return reported(names, seen, networks.metrics(), networks.stride, networks.weights, people)


def reported(
    names: tuple[str, ...],
    seen: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    metrics: Sequence[SetMetric],
    stride: int | None = None,
    weights: Mapping[str, str] | None = None,
    people: tuple[str, ...] = (),
) -> SetReport:
    """The report on features.

    Args:
        names: Names of the clips.
        seen: Of each set, the last being that of the true clips (`TRUE`): features (n, d) of each clip, by
            name.
        metrics: What to compute from them; see `Networks.metrics`.
        stride: What the windows had.
        weights: SHA-256 of the weight files.
        people: Whom each clip shows.
    """
    columns: dict[str, dict[str, Distance]] = {column: {} for column in seen}
    floor: dict[str, Floor] = {}
    for metric in metrics:
        features = {column: [clip[metric.features] for clip in clips] for column, clips in seen.items()}
        for column, found in features.items():
            columns[column][metric.key] = compared(found, features[TRUE], metric, people)
        floor[metric.key] = halved(features[TRUE], metric, people)
    return SetReport(names, stride, columns, floor, dict(weights or {}), people)


def compared(
    found: Sequence[np.ndarray],
    true: Sequence[np.ndarray],
    metric: SetMetric,
    people: People = (),
    draws: int = _DRAWS,
) -> Distance:
    """Distance of a set of clips to the true ones, with its interval over people.

    People are drawn with repetition, each with all their clips and the true ones. A drawn set has fewer
    distinct clips, which alone raises a Fréchet distance: so the draws give the width, and their mean is
    moved to the value.

    Args:
        found: Features (n, d) of each clip.
        true: The same of the true clips, in the same order.
        metric: What to compute.
        people: Whom each clip shows (`people.drawn_counts`).
        draws: How many sets are drawn.
    """
    kept = [i for i, (a, b) in enumerate(zip(found, true, strict=True)) if len(a) and len(b)]
    pairs = [(found[i], true[i]) for i in kept]
    clips, samples = len(pairs), sum(len(a) for a, _ in pairs)
    left_out = len(found) - clips
    note = f"{left_out} of {len(found)} clips have fewer than {metric.window} frames" if left_out else ""
    if min(samples, sum(len(b) for _, b in pairs)) < 2:
        note = note or "fewer than two samples"
        return Distance(None, None, None, clips, samples, note)
    distance = _distance(metric, *zip(*pairs, strict=True))
    value = distance(np.ones(clips))
    shown = [people[i] for i in kept] if people else ()
    if head_count(clips, shown) < 2:
        return Distance(value, None, None, clips, samples, note or "one person: no interval")
    drawn = np.array([distance(counts) for counts in drawn_counts(clips, shown, draws)])
    drawn = spread(drawn, value, head_count(clips, shown))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    lowest = 0.0 if metric.distance == "frechet" else -np.inf
    return Distance(value, float(max(low, lowest)), float(high), clips, samples, note, tuple(drawn.tolist()))


def halved(
    true: Sequence[np.ndarray], metric: SetMetric, people: People = (), splits: int = _SPLITS
) -> Floor:
    """Distance between halves of the true clips, split at random by people.

    Args:
        true: Features (n, d) of each clip.
        metric: What to compute.
        people: Whom each clip shows.
        splits: How many splits.
    """
    clips_of: dict[int, list[np.ndarray]] = {}
    for clip, person in zip(true, groups(len(true), people).tolist(), strict=True):
        if len(clip):
            clips_of.setdefault(person, []).append(clip)
    kept = [np.concatenate(clips) for clips in clips_of.values()]
    half, rng = len(kept) // 2, np.random.default_rng(0)
    if half == 0 or half * min(map(len, kept)) < 2:
        return Floor(None, None, None, half, 0, "too few people for two halves")
    values = []
    for _ in range(splits):
        order = rng.permutation(len(kept))
        halves = [np.concatenate([kept[i] for i in part]) for part in (order[:half], order[half : 2 * half])]
        values.append(_distance(metric, halves[:1], halves[1:])(np.ones(1)))
    return Floor(float(np.mean(values)), min(values), max(values), half, splits)


def _distance(metric: SetMetric, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> ClipsFrechet | ClipsKid:
    return ClipsFrechet(a, b) if metric.distance == "frechet" else ClipsKid(a, b)


def _cell(found: Distance | Floor) -> str:
    if found.value is None:
        return "–"
    digits = 4 if abs(found.value) < 1 else 2
    interval = "" if found.low is None else f"\n[dim]{found.low:.{digits}f} – {found.high:.{digits}f}[/dim]"
    return f"{found.value:.{digits}f}{interval}"
