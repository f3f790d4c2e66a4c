"""Table 7: the cost of a clip here, beside the paper's figures on its machine."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from idol.errors import UserError
from idol.experiments.cost.measure import measure_costs
from idol.experiments.cost.methods import Precision
from idol.experiments.cost.report import CostReport, MethodCost
from idol.experiments.study import Study
from idol.experiments.tables import RowConfig
from idol.progress import SILENT, ProgressCallback

_HEADINGS = "", "trained, M", "GFLOPs a clip", "memory, MB", "seconds"


@dataclass(frozen=True)
class CostTable:
    """Rows of Table 7 with our costs by method.

    Attributes:
        title: The paper's title.
        scale: What the sizes are those of.
        rows: In the paper's order.
        notes: Notes below the table.
        report: Our measurements.
    """

    title: str
    scale: str
    rows: tuple[RowConfig, ...]
    notes: tuple[str, ...]
    report: CostReport

    def to_json(self) -> dict[str, Any]:
        """Return plain values: our measurements, and the paper's by row."""
        paper = {row.name: None if row.cost is None else asdict(row.cost) for row in self.rows}
        values = {"title": self.title, "scale": self.scale, "notes": list(self.notes), "paper": paper}
        return {**values, **self.report.to_json()}

    def table(self) -> Table:
        """Return a `rich` table: our value, the paper's figure in brackets."""
        table = Table(title=self.title, caption=self._caption())
        for heading in _HEADINGS:
            table.add_column(heading, justify="right" if heading else "left")
        for cells in self._cells():
            table.add_row(*(cell.replace("[", r"\[") for cell in cells))
        return table

    def markdown(self) -> str:
        """Return the table as a Markdown page."""
        lines = [f"## {self.title}", "", self._caption(), ""]
        lines += ["| " + " | ".join(_HEADINGS) + " |", "|" + "---|" * len(_HEADINGS)]
        lines += ["| " + " | ".join(cells) + " |" for cells in self._cells()]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def _caption(self) -> str:
        report = self.report
        what = f"{report.frames} frames with depth at {report.size}², steps: {report.steps}"
        return f"{what}; {report.conditions}; the paper's figures in [], on a V100"

    def _cells(self) -> list[list[str]]:
        return [_row_cells(row, self.report.costs[row.method]) for row in self.rows if row.method is not None]


def measure_cost_table(
    study: Study,
    *,
    num_inference_steps: int | None = None,
    repeat: int = 3,
    device: str = "cpu",
    dtype: Precision = "float32",
    progress: ProgressCallback = SILENT,
) -> CostTable:
    """Measure the methods of a table of the kind `cost`, at the sizes of the scale's last stage.

    Args:
        study: The table, from `study.plan_study`.
        num_inference_steps: Denoising steps; the config's default if None.
        repeat: Rounds over the methods.
        device: "cpu", "cuda", ...
        dtype: Precision of weights and arithmetic.
        progress: Receives one step per run.

    Raises:
        UserError: If no row names a method, or as `measure_costs`.
    """
    plans = study.plans
    methods = tuple(row.method for row in study.table.rows if row.name in plans and row.method is not None)
    if not methods:
        raise UserError("table", "none of its rows can be run at this scale", "see `dry_run=True`")
    stage = next(iter(plans.values())).last_stage  # rows of this table differ in their method alone
    report = measure_costs(
        stage,
        methods,
        num_inference_steps=num_inference_steps,
        repeat=repeat,
        device=device,
        dtype=dtype,
        progress=progress,
    )
    rows = tuple(row for row in study.table.rows if row.method in methods)
    return CostTable(study.table.title, study.scale.about, rows, study.table.notes, report)


def _row_cells(row: RowConfig, cost: MethodCost) -> list[str]:
    paper = row.cost
    median = statistics.median(cost.seconds)
    values = [
        (f"{cost.parameters / 1e6:,.1f}", paper and f"{1e3 * paper.parameters:,.0f}"),
        (f"{cost.clip_flops / 1e9:,.0f}", paper and f"{1e3 * paper.teraflops:,.0f}"),
        ("?" if cost.memory is None else f"{cost.memory / 1e6:,.0f}", paper and f"{paper.megabytes:g}"),
        (f"{median:.3g} ({min(cost.seconds):.3g}–{max(cost.seconds):.3g})", paper and f"{paper.seconds:g}"),
    ]
    return [
        row.name,
        *(measured if published is None else f"{measured} [{published}]" for measured, published in values),
    ]
