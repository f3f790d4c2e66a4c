"""Metrics of several sets of clips side by side: the report, its JSON and its table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from idol.clip import Clip
from idol.evaluation import confidence_intervals
from idol.evaluation.bootstrap import count_people, describe_sample
from idol.evaluation.clip_sets import check_names
from idol.evaluation.confidence_intervals import Estimate
from idol.evaluation.evaluator import Evaluator
from idol.evaluation.score import ClipScores, score_clips
from idol.progress import SILENT, ProgressCallback

if TYPE_CHECKING:
    from rich.table import Table

REFERENCE = "true"
"""Name of the column of the reference clips themselves, which are scored like any other set."""


@dataclass(frozen=True)
class MetricRow:
    """One row of the table.

    Attributes:
        key: Name in the JSON.
        field: The attribute of `ClipScores` that it shows.
        title: Name in the table.
        better: Which direction is better.
        relative: Whether it is shown as a ratio to the reference clips' value.
    """

    key: str
    field: str
    title: str
    better: Literal["lower", "higher"]
    relative: bool = False


GROUPS: dict[str, tuple[MetricRow, ...]] = {
    "image, against the reference video": (
        MetricRow("psnr", "psnr", "PSNR, dB", "higher"),
        MetricRow("ssim", "ssim", "SSIM, gray", "higher"),
        MetricRow("lpips", "lpips", "LPIPS", "lower"),
        MetricRow("identity", "identity", "person identity, cosine similarity", "higher"),
        MetricRow("shirt", "shirt", "shirt color error, Delta E", "lower"),
        MetricRow("trousers", "trousers", "trousers color error, Delta E", "lower"),
    ),
    "depth, against the reference depth": (
        MetricRow("depth_l2", "depth_l2", "depth L2, whole frame", "lower"),
        MetricRow("depth_rmse_frame", "depth_rmse_frame", "depth RMSE, whole frame", "lower"),
        MetricRow("silhouette_iou", "silhouette_iou", "silhouette IoU: depth, reference depth", "higher"),
        MetricRow("boundary_precision", "boundary_precision", "depth edges: precision", "higher"),
        MetricRow("boundary_recall", "boundary_recall", "depth edges: recall", "higher"),
        MetricRow("boundary_f1", "boundary_f1", "depth edges: F1", "higher"),
    ),
    "depth within the person": (
        MetricRow("depth_l2_person", "depth_l2_person", "depth L2, within the person", "lower"),
        MetricRow("depth_rmse", "depth_rmse", "depth RMSE", "lower"),
        MetricRow("depth_absrel", "depth_absrel", "depth AbsRel", "lower"),
        MetricRow("depth_delta", "depth_delta", "depth within a factor of 1.25", "higher"),
        MetricRow("depth_rmse_aligned", "depth_rmse_aligned", "depth RMSE, aligned", "lower"),
        MetricRow("depth_absrel_aligned", "depth_absrel_aligned", "depth AbsRel, aligned", "lower"),
        MetricRow(
            "depth_delta_aligned", "depth_delta_aligned", "depth within a factor of 1.25, aligned", "higher"
        ),
        MetricRow("depth_rmse_meters", "depth_rmse_meters", "distance RMSE, meters", "lower"),
        MetricRow("depth_absrel_meters", "depth_absrel_meters", "distance AbsRel", "lower"),
        MetricRow("depth_delta_meters", "depth_delta_meters", "distance within a factor of 1.25", "higher"),
        MetricRow(
            "depth_rmse_meters_aligned", "depth_rmse_meters_aligned", "distance RMSE, aligned", "lower"
        ),
        MetricRow(
            "depth_absrel_meters_aligned", "depth_absrel_meters_aligned", "distance AbsRel, aligned", "lower"
        ),
        MetricRow(
            "depth_delta_meters_aligned",
            "depth_delta_meters_aligned",
            "distance within a factor of 1.25, aligned",
            "higher",
        ),
    ),
    "depth, against its own video": (
        MetricRow(
            "alignment_found",
            "alignment_found",
            "alignment IoU: depth, person segmented in own video",
            "higher",
        ),
        MetricRow(
            "alignment_plate", "alignment_plate", "alignment IoU: depth, own video minus background", "higher"
        ),
        MetricRow(
            "alignment_edge",
            "alignment_edge",
            "outline distance of depth and segmented person, pixels",
            "lower",
        ),
        MetricRow(
            "motion_difference", "motion_difference", "flow difference of depth and video, pixels", "lower"
        ),
    ),
    "motion and temporal stability": (
        MetricRow("joints", "joints", "joints re-detected within 10 % of height", "higher"),
        MetricRow("joints_of_true", "joints", "… relative to the reference video", "higher", relative=True),
        MetricRow("flicker", "flicker", "flicker outside the person, 8-bit levels", "lower"),
        MetricRow("flicker_of_true", "flicker", "… relative to the reference video", "lower", relative=True),
        MetricRow("warp_error", "warp_error", "warp error along the reference motion, 8-bit levels", "lower"),
        MetricRow(
            "warp_error_of_true", "warp_error", "… relative to the reference video", "lower", relative=True
        ),
        MetricRow("warp_error_person", "warp_error_person", "… within the person, 8-bit levels", "lower"),
    ),
}
"""The rows of the table, grouped under headings."""

ROWS = tuple(row for rows in GROUPS.values() for row in rows)


@dataclass(frozen=True)
class ClipMetricsReport:
    """Metrics of several sets of clips, each scored against the same reference clips.

    Attributes:
        clips: Names of the clips.
        columns: Scores of each set, in the order of `clips`; the last set is `REFERENCE`.
        people: The person each clip shows, "" where unknown; empty if unknown of all.
    """

    clips: tuple[str, ...]
    columns: dict[str, tuple[ClipScores, ...]]
    people: tuple[str, ...] = ()

    def estimate(self, column: str, row: MetricRow | str) -> Estimate:
        """Return the mean over clips of one metric, or its ratio to the reference clips' mean.

        Args:
            column: Name of the set.
            row: The metric, or its key.
        """
        if isinstance(row, str):
            row = next(known for known in ROWS if known.key == row)
        values = self.values(column, row.field)
        if row.relative:
            return confidence_intervals.ratio(values, self.values(REFERENCE, row.field), self.people)
        return confidence_intervals.mean(values, self.people)

    def bootstrap_means(self, column: str, row: MetricRow) -> np.ndarray:
        """Return the mean of one metric on bootstrap samples, which are the same for every column.

        Args:
            column: Name of the set.
            row: The metric, not a relative one.
        """
        return confidence_intervals.bootstrap_means(self.values(column, row.field), self.people)

    def to_json(self, per_clip: bool = False) -> dict[str, Any]:
        """Return plain values: every row of every column with its interval; None for NaN and infinity.

        Args:
            per_clip: Also include every metric of every clip.
        """
        values: dict[str, Any] = {
            "clips": len(self.clips),
            "people": count_people(len(self.clips), self.people),
            "columns": {
                column: {row.key: finite_or_none(asdict(self.estimate(column, row))) for row in ROWS}
                for column in self.columns
            },
        }
        if per_clip:
            values["shows"] = dict(zip(self.clips, self.people, strict=True)) if self.people else {}
            values["per_clip"] = {
                column: {n: finite_or_none(asdict(s)) for n, s in zip(self.clips, scores, strict=True)}
                for column, scores in self.columns.items()
            }
        return values

    def table(self, title: str = "") -> Table:
        """Return a `rich` table, one column per set, with 95 % intervals over people below the means.

        A mean over fewer clips than the report has is marked with their number (`n = ...`).
        """
        from rich.table import Table

        table = Table(title=title or None, caption=describe_sample(len(self.clips), self.people))
        table.add_column("")
        for column in self.columns:
            table.add_column(column, justify="right")
        for heading, rows in GROUPS.items():
            lines = [(row, [self.estimate(column, row) for column in self.columns]) for row in rows]
            measured = [(row, cells) for row, cells in lines if any(math.isfinite(e.value) for e in cells)]
            if measured:
                table.add_section()
                table.add_row(f"[bold]{heading}[/bold]")
            for row, cells in measured:
                arrow = "↓" if row.better == "lower" else "↑"
                table.add_row(f"{row.title} {arrow}", *(_cell(e, len(self.clips)) for e in cells))
        return table

    def values(self, column: str, field: str) -> np.ndarray:
        """Return one metric of every clip of a column, in the order of `clips`.

        Args:
            column: Name of the set.
            field: An attribute of `ClipScores`.
        """
        return np.array([getattr(scores, field) for scores in self.columns[column]])


def compare_clips(
    columns: Mapping[str, Mapping[str, Clip]],
    reference: Mapping[str, Clip],
    evaluator: Evaluator,
    progress: ProgressCallback = SILENT,
) -> ClipMetricsReport:
    """Score sets of clips against the reference clips of the same names.

    Args:
        columns: Sets of clips by column name; the first decides which clips are scored.
        reference: The reference clips; may hold more.
        evaluator: Networks that look at the frames.
        progress: Receives one step per clip.

    Raises:
        UserError: If a clip is missing from a set or from the reference, or a pair does not match.
    """
    names = check_names({**columns, REFERENCE: reference})
    scores: dict[str, list[ClipScores]] = {column: [] for column in [*columns, REFERENCE]}
    people = []
    for done, name in enumerate(names, 1):
        expected = reference[name]
        people.append(expected.subject or "")
        versions = {column: clips[name] for column, clips in columns.items()} | {REFERENCE: expected}
        for column, of_clip in score_clips(versions, expected, evaluator).items():
            scores[column].append(of_clip)
        progress.step(done, len(names))
    return ClipMetricsReport(names, {column: tuple(of) for column, of in scores.items()}, tuple(people))


def _cell(estimate: Estimate, clips: int) -> str:
    if not math.isfinite(estimate.value):
        return "–"
    low, value, high = (format_like(v, estimate.value) for v in (estimate.low, estimate.value, estimate.high))
    below = [f"{low} – {high}"] if math.isfinite(estimate.low) else []
    below += [f"n = {estimate.clips}"] if estimate.clips != clips else []
    return f"{value}\n[dim]{', '.join(below)}[/dim]" if below else value


def format_like(number: float, scale: float) -> str:
    """Format a number with the decimals that suit a scale.

    Args:
        number: The number.
        scale: A number of the magnitude that decides: four decimals below 0.1, three below 10, else one.
    """
    return f"{number:.4f}" if abs(scale) < 0.1 else f"{number:.3f}" if abs(scale) < 10 else f"{number:.1f}"


def finite_or_none(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity, which JSON does not have, by None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
