"""Plots of a report: the metrics of every clip, and error maps of the best and worst clips."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from idol.atomic_io import atomic_file, check_file
from idol.clip import Clip
from idol.clip.depth import colorize
from idol.errors import UserError
from idol.evaluation.bootstrap import describe_sample
from idol.evaluation.report import REFERENCE, ROWS, ClipMetricsReport, MetricRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SHOWN = (
    "psnr",
    "lpips",
    "identity",
    "joints",
    "depth_l2",
    "depth_absrel_aligned",
    "silhouette_iou",
    "boundary_f1",
    "alignment_found",
    "motion_difference",
    "flicker",
    "warp_error",
)
"""Keys of the rows that are drawn by default."""

_ACROSS = 4  # panels side by side
_FRAMES = 8  # of a strip
_DPI = 100
_SPREAD = 0.5  # of the points of a column, in the distance of two columns
_GOLDEN = 0.618034  # multiples of it, modulo 1, are spread evenly however many there are
_NAMES = ("best", "median", "worst")
_SIGNED = "farther or missing ← → nearer"


@dataclass(frozen=True)
class _Case:
    """A clip to show: its rank and metric as a title, the generated clip and its reference."""

    title: str
    generated: Clip
    reference: Clip

    @property
    def has_depth(self) -> bool:
        return "none" not in (self.generated.depth_kind, self.reference.depth_kind)

    def depth_difference(self) -> np.ndarray:
        return self.generated.depth - self.reference.depth


def write_plots(
    report: ClipMetricsReport,
    columns: Mapping[str, Mapping[str, Clip]],
    reference: Mapping[str, Clip],
    folder: str | Path,
    *,
    rows: Sequence[str] = SHOWN,
    ranked_by: str = "psnr",
) -> list[Path]:
    """Draw a report as PNG files.

    - `clips.png`: one panel per row, one point per clip and column, the means with their intervals beside
      them; without the reference clips where they are all equal.
    - `COLUMN-maps.png`: for the best, the median and the worst clip of a column, the middle frame: reference,
      generated and difference, of the image and of the depth.
    - `COLUMN-depth.png`: the depth difference of the same clips over their frames, with the outline of the
      reference person; not for clips without depth.

    Args:
        report: The metrics.
        columns: The sets of clips to show clip by clip, by their column in the report.
        reference: The reference clips.
        folder: Receives the files; created if missing.
        rows: Keys of the rows to draw; rows without a value in any column are left out.
        ranked_by: Key of the row that ranks the clips.

    Returns:
        The files.

    Raises:
        UserError: If a row or a column is unknown, if no clip of a column has the metric that ranks them, or
            as `check_plots`.
    """
    folder = Path(folder)
    names = _file_names(columns)
    figures = {"clips": _scatter(report, [_row(key) for key in rows])}
    for column, clips in columns.items():
        name = names[column]
        cases = _cases(report, column, clips, reference, _row(ranked_by))
        figures[f"{name}-maps"] = _maps(f"{column}, by {_row(ranked_by).title}", cases)
        if all(case.has_depth for case in cases):
            figures[f"{name}-depth"] = _strips(f"{column}: generated minus reference depth", cases)
    check_plots(folder, columns)
    return [_save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def check_plots(folder: str | Path, columns: Iterable[str]) -> None:
    """Check that plots can be written, before any work is done.

    Args:
        folder: Receives the files; created if missing.
        columns: Names of the sets.

    Raises:
        UserError: If the files of two sets would have the same name, or the folder cannot be written.
    """
    _file_names(columns)
    check_file(Path(folder, "clips.png"), "plots")


def _file_names(columns: Iterable[str]) -> dict[str, str]:
    """Return the file name prefix of each set: its name without characters unfit for file names."""
    owners: dict[str, str] = {}
    for column in columns:
        name = re.sub(r"[^\w.-]+", "_", column)
        if name in owners:
            found = f"{owners[name]!r} and {column!r} would both write {name}-maps.png"
            raise UserError("plots", found, "rename one of the sets")
        owners[name] = column
    return {column: name for name, column in owners.items()}


def _save(figure: Figure, file: Path) -> Path:
    with atomic_file(file) as new:
        figure.savefig(new, dpi=_DPI)
    return file


def _row(key: str) -> MetricRow:
    for row in ROWS:
        if row.key == key:
            return row
    raise UserError("rows", f"no row {key!r}", f"choose from {', '.join(row.key for row in ROWS)}")


def _cases(
    report: ClipMetricsReport,
    column: str,
    clips: Mapping[str, Clip],
    reference: Mapping[str, Clip],
    row: MetricRow,
) -> list[_Case]:
    """Return the best, the median and the worst clip; fewer if there are only one or two clips."""
    if column not in report.columns:
        raise UserError("columns", f"no {column!r} in the report", f"choose from {', '.join(report.columns)}")
    values = report.values(column, row.field)
    order = np.argsort(values if row.better == "lower" else -values)[: np.isfinite(values).sum()]  # NaN: last
    if order.size == 0:
        raise UserError(column, f"no clip has the metric {row.key!r}", "rank the clips by another row")
    names = _NAMES[::2] if order.size == 2 else _NAMES[: order.size]
    ranks = order[np.linspace(0, order.size - 1, len(names)).round().astype(int)]
    chosen = [(name, values[i], report.clips[i]) for name, i in zip(names, ranks, strict=True)]
    return [
        _Case(f"{name}: {value:.3g}\n{clip}", clips[clip], reference[clip]) for name, value, clip in chosen
    ]


def _figure(width: float, height: float, title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(width, height), layout=layout)
    figure.suptitle(title, fontsize=11)
    return figure


def _scatter(report: ClipMetricsReport, rows: Sequence[MetricRow]) -> Figure:
    """Draw one panel per row, with the clips of each column as points."""
    measured = [r for r in rows if any(np.isfinite(report.estimate(c, r).value) for c in report.columns)]
    across = min(_ACROSS, max(1, len(measured)))
    down = -(-len(measured) // across)
    width = max(2.6, 0.55 * len(report.columns) + 1)
    said = describe_sample(len(report.clips), report.people)
    figure = _figure(across * width, max(1, down) * 2.6, f"{said}; black: mean")
    for position, row in enumerate(measured, 1):
        _panel(figure.add_subplot(down, across, position), report, row)
    return figure


def _panel(axes: Axes, report: ClipMetricsReport, row: MetricRow) -> None:
    spread = (np.arange(len(report.clips)) * _GOLDEN % 1 - 0.5) * _SPREAD
    for x, column in enumerate(report.columns):
        values = report.values(column, row.field)
        if row.relative:
            of_true = report.values(REFERENCE, row.field)
            values = values / of_true[np.isfinite(values) & np.isfinite(of_true)].mean()
        if column == REFERENCE and np.ptp(values) == 0:
            continue  # the references are all perfect, and would set the scale
        axes.scatter(x + spread, values, s=7, alpha=0.6, linewidths=0, color=f"C{x}")
        mean = report.estimate(column, row)
        if np.isfinite(mean.value):
            limits = np.array([[mean.value - mean.low], [mean.high - mean.value]])
            bars = np.maximum(limits, 0) if np.isfinite(limits).all() else None
            axes.errorbar(x + 0.38, mean.value, bars, fmt="k_", capsize=2, markersize=5)
    axes.set_xticks(range(len(report.columns)), list(report.columns), rotation=35, ha="right", fontsize=8)
    axes.set_xlim(-0.6, len(report.columns) - 0.4)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(f"{row.title} {'↓' if row.better == 'lower' else '↑'}", fontsize=8, wrap=True)


def _maps(title: str, cases: Sequence[_Case]) -> Figure:
    """Draw one line per clip: its middle frame, reference and generated, and their differences."""
    figure = _figure(13, 1.95 * _shape(cases) * len(cases) + 0.5, title)
    grid = figure.subplots(len(cases), 6, squeeze=False)
    worst = max(float(_middle(case).max()) for case in cases)
    limit = _limit(cases)
    signed: AxesImage | None = None
    for line, case in zip(grid, cases, strict=True):
        i = case.reference.frames // 2
        wrong = line[2].imshow(_middle(case), cmap="magma", vmin=0, vmax=worst)
        for axes, clip in zip(line[:2], (case.reference, case.generated), strict=True):
            axes.imshow(clip.video[i].transpose(1, 2, 0))
        for axes, clip in zip(line[3:5], (case.reference, case.generated), strict=True):
            _depth(axes, clip, i)
        if case.has_depth:
            signed = _difference(line[5], case, i, limit)
        else:
            _no_depth(line[5])
        line[0].set_ylabel(case.title, fontsize=8)
    heads = (
        *("reference", "generated", "|difference|, levels"),
        *("reference depth", "generated depth", "difference"),
    )
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    _without_ticks(grid)
    _bar(figure, wrong, grid[:, 2], "")
    if signed is not None:
        _bar(figure, signed, grid[:, 5], _SIGNED)
    return figure


def _strips(title: str, cases: Sequence[_Case]) -> Figure:
    """Draw one line per clip: the signed depth difference over the frames."""
    count = min(case.reference.frames for case in cases)
    shown = np.linspace(0, count - 1, min(count, _FRAMES)).round().astype(int)
    figure = _figure(1.6 * len(shown) + 1, 1.6 * _shape(cases) * len(cases) + 0.5, title)
    grid = figure.subplots(len(cases), len(shown), squeeze=False)
    limit = _limit(cases)
    for line, case in zip(grid, cases, strict=True):
        for axes, i in zip(line, shown, strict=True):
            image = _difference(axes, case, i, limit)
            if case.reference.mask[i].any() and not case.reference.mask[i].all():
                axes.contour(case.reference.mask[i], [0.5], colors="k", linewidths=0.4)
        line[0].set_ylabel(case.title, fontsize=8)
    for axes, i in zip(grid[0], shown, strict=True):
        axes.set_title(f"frame {i}", fontsize=9)
    _without_ticks(grid)
    _bar(figure, image, grid, _SIGNED)
    return figure


def _middle(case: _Case) -> np.ndarray:
    """Return (h, w), the |difference| of the middle frames in levels, averaged over the channels."""
    i = case.reference.frames // 2
    return np.abs(case.generated.video[i].astype(np.float32) - case.reference.video[i]).mean(0)


def _limit(cases: Sequence[_Case]) -> float:
    """Return the end of the color scale of depth differences: their 98th percentile, at least 0.05.

    Only pixels count where both have depth; a missing person is always far off, and may exceed the scale.
    """
    least = [np.full(1, 0.05, np.float32)]
    for case in (case for case in cases if case.has_depth):
        both = (case.generated.depth > 0) & (case.reference.depth > 0)
        least.append(np.percentile(np.abs(case.depth_difference()[both]), [98]) if both.any() else least[0])
    return float(np.max(least))


def _depth(axes: Axes, clip: Clip, frame: int) -> None:
    if clip.depth_kind == "none":
        _no_depth(axes)
    else:
        axes.imshow(colorize(clip.depth[frame]).transpose(1, 2, 0))


def _no_depth(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no depth", ha="center", va="center", transform=axes.transAxes, fontsize=8)


def _difference(axes: Axes, case: _Case, frame: int, limit: float) -> AxesImage:
    """Draw the signed depth difference: red is nearer than the reference depth, blue farther or missing."""
    return axes.imshow(case.depth_difference()[frame], cmap="RdBu_r", vmin=-limit, vmax=limit)


def _shape(cases: Sequence[_Case]) -> float:
    """Return the largest height of a frame relative to its width."""
    return max(case.reference.height / case.reference.width for case in cases)


def _bar(figure: Figure, image: AxesImage, beside: np.ndarray, label: str) -> None:
    bar = figure.colorbar(image, ax=beside.ravel().tolist(), aspect=40, pad=0.01)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _without_ticks(grid: np.ndarray) -> None:
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
