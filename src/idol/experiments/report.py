"""The paper's table next to ours: figures with intervals, and where the two put rows in the same order."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from rich.table import Table

from idol.evaluation.report import digits, plain
from idol.evaluation.statistics import Estimate, difference
from idol.experiments.data_sources import TrainingClips
from idol.experiments.tables import Published, RowConfig

Verdict = Literal["same", "opposite", "undecided"]


@dataclass(frozen=True)
class Figure:
    """One kind of number.

    Attributes:
        key: Its name in the JSON.
        title: Its name in the table.
        better: Which way is better.
        paper: Which of the paper's figures it stands beside, all better if lower; None if it measures none.
    """

    key: str
    title: str
    better: Literal["lower", "higher"] = "lower"
    paper: str | None = None


FIGURES = (
    Figure("fid_vid", "FID-VID", paper="fid_vid"),
    Figure("fid_i3d", "FID of I3D features", paper="fid_vid"),
    Figure("fvd8_disco", "FVD, 8 frames", paper="fvd"),
    Figure("depth_l2", "depth L2", paper="depth_l2"),
    Figure("fid", "FID", paper="fid"),
    Figure("silhouette_iou", "silhouette IoU", "higher"),
    Figure("alignment_plate", "alignment IoU", "higher"),
    Figure("flicker", "flicker"),
)


@dataclass(frozen=True)
class RowResult:
    """What became of one row.

    Attributes:
        row: The row.
        parameters: Of what was trained; None if nothing was.
        figures: By `Figure.key`; those that could not be measured are missing.
        draws: The same figures on drawn sets of clips (`statistics.difference`).
        why_not: Why the row was not run; None if it was.
    """

    row: RowConfig
    parameters: int | None = None
    figures: dict[str, Estimate] = field(default_factory=dict)
    draws: dict[str, np.ndarray] = field(default_factory=dict)
    why_not: str | None = None

    def published(self, figure: str) -> float | None:
        """The paper's figure on the first dataset that has one: TikTok, then NTU120."""
        found = (getattr(numbers, figure) for numbers in (self.row.tiktok, self.row.ntu120))
        return next((value for value in found if value is not None), None)


@dataclass(frozen=True)
class Comparison:
    """Two rows in one figure: does the same one win here as in the paper?

    Attributes:
        figure: Its key.
        first: Name of a row.
        second: Name of a later row.
        difference: The first's less the second's, with its 95 % interval over the same clips.
        verdict: Undecided where the interval holds 0, or the paper's figures are equal.
    """

    figure: str
    first: str
    second: str
    difference: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class TableResult:
    """A table of the paper, run.

    Attributes:
        title: The paper's.
        scale: What was trained on what.
        judged: How many clips of how many people were, in words.
        trained_on: Folders of clips that the rows' networks learned from.
        rows: In the paper's order.
        notes: Of the table.
        provenance: What else decides the numbers: test clips, metric weights, versions.
    """

    title: str
    scale: str
    judged: str
    trained_on: tuple[TrainingClips, ...]
    rows: tuple[RowResult, ...]
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Those that some row has."""
        return tuple(f for f in FIGURES if any(f.key in row.figures for row in self.rows))

    def comparisons(self) -> tuple[Comparison, ...]:
        """Every pair of rows in every figure that both we and, on one dataset, the paper have."""
        found = []
        for figure in self.figures:
            measured = [result for result in self.rows if figure.key in result.figures]
            for a, b in itertools.combinations(measured, 2):
                published = _published_difference(a.row, b.row, figure)
                if published is None:
                    continue
                ours = difference(
                    a.figures[figure.key], a.draws[figure.key], b.figures[figure.key], b.draws[figure.key]
                )
                verdict = _verdict(ours, published)
                found.append(Comparison(figure.key, a.row.name, b.row.name, ours, verdict))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Plain values: our figures with intervals, the paper's, and the comparisons."""
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
        """A `rich` table: ours with the interval, the paper's figure in brackets."""
        table = Table(title=self.title, caption=rf"{self._conditions()}; the paper's in \[]")
        for heading in self._headings():
            table.add_column(heading, justify="right" if heading else "left")
        for cells in self._cells():
            table.add_row(*(cell.replace("[", r"\[") for cell in cells))
        return table

    def markdown(self) -> str:
        """The same as a Markdown page, with what it says about the order of the rows."""
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
            *(f"- Not run: {r.row.name}: {r.why_not}." for r in self.rows if r.why_not),
        ]
        return "\n".join([*lines, *self._order_lines()]) + "\n"

    def _conditions(self) -> str:
        learned = " and ".join(f"{c.clips:,} clips (manifest {c.sha256[:12]})" for c in self.trained_on)
        machine = self.provenance.get("machine")
        said = [self.scale, f"trained on {learned}" if learned else "", f"judged on {self.judged}"]
        return "; ".join([part for part in said if part] + ([f"on {machine}"] if machine else []))

    def _headings(self) -> list[str]:
        arrows = {"lower": "↓", "higher": "↑"}
        return ["", "parameters", *(f"{f.title} {arrows[f.better]}" for f in self.figures)]

    def _cells(self) -> list[list[str]]:
        return [
            [
                result.row.name,
                "–" if result.parameters is None else f"{result.parameters / 1e6:,.1f} M",
                *(_cell(result, figure) for figure in self.figures),
            ]
            for result in self.rows
        ]

    def _order_lines(self) -> list[str]:
        found = self.comparisons()
        if not found:
            return ["- No pair of rows can be compared with the paper."]
        counts = {v: sum(c.verdict == v for c in found) for v in ("same", "opposite", "undecided")}
        said = f"- Order of rows, {len(found)} pairs in all figures: {counts['same']} as in the paper, "
        said += (
            f"{counts['opposite']} the other way, {counts['undecided']} undecided (the 95 % interval of the "
        )
        said += "difference on the same clips holds 0)."
        decided = [c for v in ("same", "opposite") for c in found if c.verdict == v]
        return [said, *map(_decided_line, decided)]


def _decided_line(c: Comparison) -> str:
    how = "As in the paper" if c.verdict == "same" else "The other way"
    d = c.difference
    value, low, high = (digits(v, d.value) for v in (d.value, d.low, d.high))
    return f"- {how} in {c.figure}: {c.first} less {c.second}: {value} ({low} to {high})."


def _published_difference(a: RowConfig, b: RowConfig, figure: Figure) -> float | None:
    """The paper's, on the first dataset on which it gives both: TikTok, then NTU120."""
    if figure.paper is None:
        return None
    datasets = ((a.tiktok, b.tiktok), (a.ntu120, b.ntu120))
    pairs = ((getattr(x, figure.paper), getattr(y, figure.paper)) for x, y in datasets)
    return next((x - y for x, y in pairs if x is not None and y is not None), None)


def _verdict(ours: Estimate, published: float) -> Verdict:
    if published == 0 or ours.low <= 0 <= ours.high:
        return "undecided"
    return "same" if (ours.value < 0) == (published < 0) else "opposite"


def _cell(result: RowResult, figure: Figure) -> str:
    estimate = result.figures.get(figure.key)
    ours = "–"
    if estimate is not None:
        value, low, high = (digits(v, estimate.value) for v in (estimate.value, estimate.low, estimate.high))
        ours = f"{value} ({low}–{high})" if math.isfinite(estimate.low) else value
    paper = None if figure.paper is None else result.published(figure.paper)
    return ours if paper is None else f"{ours} [{paper:g}]"


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {**asdict(comparison), "difference": plain(asdict(comparison.difference))}


def _row_json(result: RowResult) -> dict[str, Any]:
    return {
        "set": list(result.row.set),
        "pretraining": result.row.pretraining,
        "parameters": result.parameters,
        "figures": {key: plain(asdict(estimate)) for key, estimate in result.figures.items()},
        "why_not": result.why_not,
        "paper": {"tiktok": _given(result.row.tiktok), "ntu120": _given(result.row.ntu120)},
    }


def _given(numbers: Published) -> dict[str, float]:
    return {key: value for key, value in asdict(numbers).items() if value is not None}
