"""Our results beside the paper's table, with intervals, and where the two agree on the order of the rows."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from rich.table import Table

from idol.evaluation.confidence_intervals import Estimate, difference
from idol.evaluation.report import finite_or_none, format_like
from idol.experiments.data_sources import TrainingClips
from idol.experiments.tables import PaperMetrics, RowConfig

Verdict = Literal["same", "opposite", "undecided"]


@dataclass(frozen=True)
class TableMetric:
    """A column of the table.

    Attributes:
        key: Name in the JSON.
        title: Name in the table.
        better: Which direction is better.
        paper: The paper's figure that it is compared with, which is better if lower; None if the paper has
            none.
    """

    key: str
    title: str
    better: Literal["lower", "higher"] = "lower"
    paper: str | None = None


TABLE_METRICS = (
    TableMetric("fid_vid", "FID-VID", paper="fid_vid"),
    TableMetric("fid_i3d", "FID of I3D features", paper="fid_vid"),
    TableMetric("fvd8_disco", "FVD, 8 frames", paper="fvd"),
    TableMetric("depth_l2", "depth L2", paper="depth_l2"),
    TableMetric("fid", "FID", paper="fid"),
    TableMetric("silhouette_iou", "silhouette IoU", "higher"),
    TableMetric("alignment_plate", "alignment IoU", "higher"),
    TableMetric("flicker", "flicker"),
)


@dataclass(frozen=True)
class RowResult:
    """The result of one row.

    Attributes:
        row: The row.
        parameters: Number of trained parameters; None if nothing was trained.
        metrics: Means by `TableMetric.key`; what could not be measured is missing.
        draws: The same metrics on bootstrap samples of people (`statistics.difference`).
        skip_reason: Why the row was not run; None if it was.
    """

    row: RowConfig
    parameters: int | None = None
    metrics: dict[str, Estimate] = field(default_factory=dict)
    draws: dict[str, np.ndarray] = field(default_factory=dict)
    skip_reason: str | None = None

    def published(self, metric: str) -> float | None:
        """Return the paper's figure on the first dataset that has it: TikTok, then NTU120."""
        found = (getattr(numbers, metric) for numbers in (self.row.tiktok, self.row.ntu120))
        return next((value for value in found if value is not None), None)


@dataclass(frozen=True)
class Comparison:
    """Two rows compared in one metric: does the same row win as in the paper?

    Attributes:
        metric: Key of the metric.
        first: Name of a row.
        second: Name of a later row.
        difference: First minus second, with its 95 % interval over the same clips.
        verdict: "undecided" if the interval contains 0 or the paper's figures are equal.
    """

    metric: str
    first: str
    second: str
    difference: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class TableResult:
    """A table of the paper, run.

    Attributes:
        title: The paper's title.
        scale: What was trained on what.
        judged: The number of scored clips and people, in words.
        trained_on: Folders of clips that the rows' networks were trained on.
        rows: In the paper's order.
        notes: Notes below the table.
        provenance: What else determines the results: test clips, metric weights, versions.
    """

    title: str
    scale: str
    judged: str
    trained_on: tuple[TrainingClips, ...]
    rows: tuple[RowResult, ...]
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[TableMetric, ...]:
        """The metrics that some row has."""
        return tuple(f for f in TABLE_METRICS if any(f.key in row.metrics for row in self.rows))

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return every pair of rows in every metric that we and, on one dataset, the paper have."""
        found = []
        for metric in self.metrics:
            measured = [result for result in self.rows if metric.key in result.metrics]
            for a, b in itertools.combinations(measured, 2):
                published = _published_difference(a.row, b.row, metric)
                if published is None:
                    continue
                ours = difference(
                    a.metrics[metric.key], a.draws[metric.key], b.metrics[metric.key], b.draws[metric.key]
                )
                verdict = _verdict(ours, published)
                found.append(Comparison(metric.key, a.row.name, b.row.name, ours, verdict))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return plain values: our metrics with intervals, the paper's figures, and the comparisons."""
        return {
            "title": self.title,
            "scale": self.scale,
            "judged": self.judged,
            "trained_on": [asdict(clips) | {"folder": str(clips.folder)} for clips in self.trained_on],
            "notes": list(self.notes),
            **self.provenance,
            "rows": {result.row.name: _row_json(result) for result in self.rows},
            "order": [_comparison_json(comparison) for comparison in self.comparisons()],
        }

    def table(self) -> Table:
        """Return a `rich` table: our value with its interval, the paper's figure in brackets."""
        table = Table(title=self.title, caption=rf"{self._conditions()}; the paper's in \[]")
        for heading in self._headings():
            table.add_column(heading, justify="right" if heading else "left")
        for cells in self._cells():
            table.add_row(*(cell.replace("[", r"\[") for cell in cells))
        return table

    def markdown(self) -> str:
        """Return the table as a Markdown page, with the comparison of the order of the rows."""
        headings, cells = self._headings(), self._cells()
        lines = [
            f"## {self.title}",
            "",
            f"{self._conditions()}; the paper's in [].",
            "",
        ]
        lines += ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
        lines += ["| " + " | ".join(row) + " |" for row in cells]
        lines += [
            "",
            *(f"- {note}" for note in self.notes),
            *(f"- Not run: {r.row.name}: {r.skip_reason}." for r in self.rows if r.skip_reason),
        ]
        return "\n".join([*lines, *self._order_lines()]) + "\n"

    def _conditions(self) -> str:
        learned = " and ".join(f"{c.clips:,} clips (manifest {c.sha256[:12]})" for c in self.trained_on)
        machine = self.provenance.get("machine")
        text = [self.scale, f"trained on {learned}" if learned else "", f"judged on {self.judged}"]
        return "; ".join([part for part in text if part] + ([f"on {machine}"] if machine else []))

    def _headings(self) -> list[str]:
        arrows = {"lower": "↓", "higher": "↑"}
        return ["", "parameters", *(f"{f.title} {arrows[f.better]}" for f in self.metrics)]

    def _cells(self) -> list[list[str]]:
        return [
            [
                result.row.name,
                "–" if result.parameters is None else f"{result.parameters / 1e6:,.1f} M",
                *(_cell(result, metric) for metric in self.metrics),
            ]
            for result in self.rows
        ]

    def _order_lines(self) -> list[str]:
        found = self.comparisons()
        if not found:
            return ["- No pair of rows can be compared with the paper."]
        counts = {v: sum(c.verdict == v for c in found) for v in ("same", "opposite", "undecided")}
        text = f"- Order of rows, {len(found)} pairs in all figures: {counts['same']} as in the paper, "
        text += (
            f"{counts['opposite']} the other way, {counts['undecided']} undecided (the 95 % interval of the "
        )
        text += "difference on the same clips holds 0)."
        decided = [c for v in ("same", "opposite") for c in found if c.verdict == v]
        return [text, *map(_decided_line, decided)]


def _decided_line(c: Comparison) -> str:
    how = "As in the paper" if c.verdict == "same" else "The other way"
    d = c.difference
    value, low, high = (format_like(v, d.value) for v in (d.value, d.low, d.high))
    return f"- {how} in {c.metric}: {c.first} less {c.second}: {value} ({low} to {high})."


def _published_difference(a: RowConfig, b: RowConfig, metric: TableMetric) -> float | None:
    """Return the paper's difference on the first dataset that has both rows: TikTok, then NTU120."""
    if metric.paper is None:
        return None
    datasets = ((a.tiktok, b.tiktok), (a.ntu120, b.ntu120))
    pairs = ((getattr(x, metric.paper), getattr(y, metric.paper)) for x, y in datasets)
    return next((x - y for x, y in pairs if x is not None and y is not None), None)


def _verdict(ours: Estimate, published: float) -> Verdict:
    if published == 0 or ours.low <= 0 <= ours.high:
        return "undecided"
    return "same" if (ours.value < 0) == (published < 0) else "opposite"


def _cell(result: RowResult, metric: TableMetric) -> str:
    estimate = result.metrics.get(metric.key)
    ours = "–"
    if estimate is not None:
        value, low, high = (
            format_like(v, estimate.value) for v in (estimate.value, estimate.low, estimate.high)
        )
        ours = f"{value} ({low}–{high})" if math.isfinite(estimate.low) else value
    paper = None if metric.paper is None else result.published(metric.paper)
    return ours if paper is None else f"{ours} [{paper:g}]"


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "figure": comparison.metric,
        "first": comparison.first,
        "second": comparison.second,
        "difference": finite_or_none(asdict(comparison.difference)),
        "verdict": comparison.verdict,
    }


def _row_json(result: RowResult) -> dict[str, Any]:
    return {
        "set": list(result.row.set),
        "pretraining": result.row.pretraining,
        "parameters": result.parameters,
        "figures": {key: finite_or_none(asdict(estimate)) for key, estimate in result.metrics.items()},
        "why_not": result.skip_reason,
        "paper": {"tiktok": _given(result.row.tiktok), "ntu120": _given(result.row.ntu120)},
    }


def _given(numbers: PaperMetrics) -> dict[str, float]:
    return {key: value for key, value in asdict(numbers).items() if value is not None}
