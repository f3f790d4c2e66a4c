"""Table 7: what a clip costs here, beside what the paper says it costs on its machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from idol.errors import UserError
from idol.experiments.cost import Cost, CostReport, Precision, benchmark
from idol.experiments.study import Study
from idol.experiments.tables import RowConfig

_HEADINGS = "", "trained, M", "GFLOPs a clip", "memory, MB", "seconds"


@dataclass(frozen=True)
class CostTable:
    """Rows of Table 7 with our costs by method."""

    title: str
    scale: str
    rows: tuple[RowConfig, ...]
    notes: tuple[str, ...]
    report: CostReport

    def to_json(self) -> dict[str, Any]:
        """Plain values: ours, and the paper's by row."""
        paper = {row.name: None if row.cost is None else asdict(row.cost) for row in self.rows}
        said = {"title": self.title, "scale": self.scale, "notes": list(self.notes), "paper": paper}
        return {**said, **self.report.to_json()}

    def table(self) -> Table:
        """A `rich` table: ours, the paper's figure in brackets."""
        table = Table(title=self.title, caption=self._caption())
        for heading in _HEADINGS:
            table.add_column(heading, justify="right" if heading else "left")
        for cells in self._cells():
            table.add_row(*(cell.replace("[", r"\[") for cell in cells))
        return table

    def markdown(self) -> str:
        """The same as a Markdown page."""
        lines = [f"## {self.title}", "", self._caption(), ""]
        lines += ["| " + " | ".join(_HEADINGS) + " |", "|" + "---|" * len(_HEADINGS)]
        lines += ["| " + " | ".join(cells) + " |" for cells in self._cells()]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def _caption(self) -> str:
        report = self.report
        what = f"{report.frames} frames with depth at {report.size}², steps: {report.steps}"
        return f"{what}; {report.conditions}; the paper's figures in [], on a V100"

    def _cells(self) -> list[list[str]]:
        return [_row(row, self.report.costs[row.method]) for row in self.rows if row.method is not None]


def costs(
    this: Study,
    *,
    steps: int | None = None,
    repeat: int = 3,
    device: str = "cpu",
    dtype: Precision = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> CostTable:
    """Measure the methods of a table of the kind `cost`, at the sizes of the scale's last stage.

    Args:
        this: From `idol.experiments.study.study`.
        steps: Denoising steps; the config's own by default.
        repeat: Rounds over the methods.
        device: Where.
        dtype: Of weights and arithmetic.
        progress: Told (runs done, runs).

    Raises:
        UserError: If no row names a method, or `benchmark` cannot measure one.
    """
    plans = this.plans
    methods = tuple(row.method for row in this.table.rows if row.name in plans and row.method is not None)
    if not methods:
        raise UserError("TABLE", "none of its rows can be run at this scale", "see --dry-run")
    stage = next(iter(plans.values())).last  # rows of this table differ in their method alone
    report = benchmark(
        stage, methods, steps=steps, repeat=repeat, device=device, dtype=dtype, progress=progress
    )
    rows = tuple(row for row in this.table.rows if row.method in methods)
    return CostTable(this.table.title, this.scale.about, rows, this.table.notes, report)


def _row(row: RowConfig, cost: Cost) -> list[str]:
    paper = row.cost
    middle = statistics.median(cost.seconds)
    said = [
        (f"{cost.parameters / 1e6:,.1f}", paper and f"{1e3 * paper.parameters:,.0f}"),
        (f"{cost.clip_flops / 1e9:,.0f}", paper and f"{1e3 * paper.teraflops:,.0f}"),
        ("?" if cost.memory is None else f"{cost.memory / 1e6:,.0f}", paper and f"{paper.megabytes:g}"),
        (f"{middle:.3g} ({min(cost.seconds):.3g}–{max(cost.seconds):.3g})", paper and f"{paper.seconds:g}"),
    ]
    return [row.name, *(ours if theirs is None else f"{ours} [{theirs}]" for ours, theirs in said)]
