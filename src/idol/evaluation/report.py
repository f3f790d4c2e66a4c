"""Scores of several sets of clips side by side: the report, its JSON and its table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from idol.clip import Clip
from idol.evaluation import statistics
from idol.evaluation.bootstrap import described, head_count
from idol.evaluation.clip_sets import check_names
from idol.evaluation.score import FIELDS, Judge, Scores, score
from idol.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from rich.table import Table

TRUE = "true"
"""Name of the column of the true clips, judged like any other."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        key: Its name in the JSON.
        field: Which of `Scores` it shows.
        title: What it is.
        better: Which way is better.
        relative: Shown as a ratio to what the true clips get.
    """

    key: str
    field: str
    title: str
    better: Literal["lower", "higher"]
    relative: bool = False


GROUPS: dict[str, tuple[Row, ...]] = {
    "image, against the true video": (
        Row("psnr", "psnr", "PSNR, dB", "higher"),
        Row("ssim", "ssim", "SSIM, gray", "higher"),
        Row("lpips", "lpips", "LPIPS", "lower"),
        Row("identity", "identity", "person like the reference's: cosine", "higher"),
        Row("shirt", "shirt", "shirt color error, Delta E", "lower"),
        Row("trousers", "trousers", "trousers color error, Delta E", "lower"),
    ),
    "depth, against the true depth": (
        Row("depth_l2", "depth_l2", "depth L2, whole frame", "lower"),
        Row("depth_rmse_frame", "depth_rmse_frame", "depth RMSE, whole frame", "lower"),
        Row("silhouette_iou", "silhouette_iou", "silhouette IoU: depth, true depth", "higher"),
        Row("boundary_precision", "boundary_precision", "depth edges: precision", "higher"),
        Row("boundary_recall", "boundary_recall", "depth edges: recall", "higher"),
        Row("boundary_f1", "boundary_f1", "depth edges: F1", "higher"),
    ),
    "depth within the person": (
        Row("depth_l2_person", "depth_l2_person", "depth L2, within the person", "lower"),
        Row("depth_rmse", "depth_rmse", "depth RMSE", "lower"),
        Row("depth_absrel", "depth_absrel", "depth AbsRel", "lower"),
        Row("depth_delta", "depth_delta", "depth within 1.25 times", "higher"),
        Row("depth_rmse_aligned", "depth_rmse_aligned", "depth RMSE, scale and shift fitted", "lower"),
        Row("depth_absrel_aligned", "depth_absrel_aligned", "depth AbsRel, fitted", "lower"),
        Row("depth_delta_aligned", "depth_delta_aligned", "depth within 1.25 times, fitted", "higher"),
        Row("depth_rmse_meters", "depth_rmse_meters", "distance RMSE, meters", "lower"),
        Row("depth_absrel_meters", "depth_absrel_meters", "distance AbsRel", "lower"),
        Row("depth_delta_meters", "depth_delta_meters", "distance within 1.25 times", "higher"),
        Row("depth_rmse_meters_aligned", "depth_rmse_meters_aligned", "distance RMSE, fitted", "lower"),
        Row("depth_absrel_meters_aligned", "depth_absrel_meters_aligned", "distance AbsRel, fitted", "lower"),
        Row("depth_delta_meters_aligned", "depth_delta_meters_aligned", "… within 1.25, fitted", "higher"),
    ),
    "depth, against its own video": (
        Row(
            "alignment_found", "alignment_found", "alignment IoU: depth, person found in own video", "higher"
        ),
        Row("alignment_plate", "alignment_plate", "alignment IoU: depth, own video less plate", "higher"),
        Row("alignment_edge", "alignment_edge", "outlines of depth and person found, pixels apart", "lower"),
        Row("motion_difference", "motion_difference", "motion of depth and video, pixels apart", "lower"),
    ),
    "motion and stillness": (
        Row("joints", "joints", "joints found within 10 % of height", "higher"),
        Row("joints_of_true", "joints", "… as a share of the true video's", "higher", relative=True),
        Row("flicker", "flicker", "flicker outside the person, 8-bit levels", "lower"),
        Row("flicker_of_true", "flicker", "… as a multiple of the true video's", "lower", relative=True),
        Row("warp_error", "warp_error", "change along the true motion, 8-bit levels", "lower"),
        Row(
            "warp_error_of_true", "warp_error", "… as a multiple of the true video's", "lower", relative=True
        ),
        Row("warp_error_person", "warp_error_person", "… within the person, 8-bit levels", "lower"),
    ),
}
"""The rows of the table under their headings."""

ROWS = tuple(row for rows in GROUPS.values() for row in rows)


@dataclass(frozen=True)
class Report:
    """What several sets of clips got, each judged against the same true clips.

    Attributes:
        clips: Names of the clips.
        columns: Scores of each set, in the order of `clips`; the last is `TRUE`.
        people: Whom each clip shows, "" where that is not said; empty: nobody is in two clips.
    """

    clips: tuple[str, ...]
    columns: dict[str, tuple[Scores, ...]]
    people: tuple[str, ...] = ()

    def estimate(self, column: str, row: Row | str) -> Estimate:
        """The mean over clips of one row's number in one column, or its ratio to the true clips'."""
        if isinstance(row, str):
            row = next(known for known in ROWS if known.key == row)
        values = self.values(column, row.field)
        if row.relative:
            return statistics.ratio(values, self.values(TRUE, row.field), self.people)
        return statistics.mean(values, self.people)

    def draws(self, column: str, row: Row) -> np.ndarray:
        """The mean of one row's number, not a relative one, on drawn sets: the same for every column."""
        return statistics.draws(self.values(column, row.field), self.people)

    def to_json(self, per_clip: bool = False) -> dict[str, Any]:
        """Plain values: every row of every column with its interval; None for NaN and for infinity.

        Args:
            per_clip: Also every number of every clip.
        """
        values: dict[str, Any] = {
            "clips": len(self.clips),
            "people": head_count(len(self.clips), self.people),
            "columns": {
                column: {row.key: plain(asdict(self.estimate(column, row))) for row in ROWS}
                for column in self.columns
            },
        }
        if per_clip:
            values["shows"] = dict(zip(self.clips, self.people, strict=True)) if self.people else {}
            values["per_clip"] = {
                column: {name: plain(asdict(s)) for name, s in zip(self.clips, scores, strict=True)}
                for column, scores in self.columns.items()
            }
        return values

    def table(self, title: str = "") -> Table:
        """A `rich` table, one column per set; 95 % bootstrap intervals over people below the means.

        A number that fewer clips have than there are says how many.
        """
        from rich.table import Table

        table = Table(title=title or None, caption=described(len(self.clips), self.people))
        table.add_column("")
        for column in self.columns:
            table.add_column(column, justify="right")
        for heading, rows in GROUPS.items():
            lines = [(row, [self.estimate(column, row) for column in self.columns]) for row in rows]
            measured = [(row, found) for row, found in lines if any(math.isfinite(e.value) for e in found)]
            if measured:
                table.add_section()
                table.add_row(f"[bold]{heading}[/bold]")
            for row, found in measured:
                arrow = "↓" if row.better == "lower" else "↑"
                table.add_row(f"{row.title} {arrow}", *(_cell(e, len(self.clips)) for e in found))
        return table

    def values(self, column: str, field: str) -> np.ndarray:
        """One number of `Scores` of every clip in a column, in the order of `clips`."""
        return np.array([getattr(scores, field) for scores in self.columns[column]])


def compare(
    columns: Mapping[str, Mapping[str, Clip]],
    true: Mapping[str, Clip],
    judge: Judge,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Judge sets of clips against the true ones of the same names.

    Args:
        columns: Sets of clips by the name of their column; the first decides which clips are judged.
        true: The true clips; may hold more.
        judge: See `Judge`.
        progress: Told (clips done, clips) after each.

    Raises:
        UserError: If a clip has no true one or is missing from another column, or a pair does not match.
    """
    names = check_names({**columns, TRUE: true})
    scores: dict[str, list[Scores]] = {column: [] for column in [*columns, TRUE]}
    people = []
    for done, name in enumerate(names, 1):
        truth = true[name]
        people.append(truth.subject or "")
        found = score(
            {column: clips[name] for column, clips in columns.items()} | {TRUE: truth}, truth, judge
        )
        for column, of_clip in found.items():
            scores[column].append(of_clip)
        if progress:
            progress(done, len(names))
    return Report(names, {column: tuple(found) for column, found in scores.items()}, tuple(people))


def from_json(values: Mapping[str, Any]) -> Report:
    """The report that `Report.to_json(per_clip=True)` wrote; what an older one did not measure is NaN."""
    numbers = values["per_clip"]
    columns = {
        column: tuple(Scores(**{name: _number(clip.get(name)) for name in FIELDS}) for clip in clips.values())
        for column, clips in numbers.items()
    }
    names = tuple(numbers[TRUE])
    shows = values.get("shows") or {}
    return Report(names, columns, tuple(shows[name] for name in names) if shows else ())


def _cell(estimate: Estimate, clips: int) -> str:
    if not math.isfinite(estimate.value):
        return "–"
    low, value, high = (digits(v, estimate.value) for v in (estimate.low, estimate.value, estimate.high))
    below = [f"{low} – {high}"] if math.isfinite(estimate.low) else []
    below += [f"n = {estimate.clips}"] if estimate.clips != clips else []
    return f"{value}\n[dim]{', '.join(below)}[/dim]" if below else value


def digits(number: float, scale: float) -> str:
    """The number with as many digits as one of that scale is shown with."""
    return f"{number:.4f}" if abs(scale) < 0.1 else f"{number:.3f}" if abs(scale) < 10 else f"{number:.1f}"


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values for JSON, which knows neither NaN nor infinity: None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
