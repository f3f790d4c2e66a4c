"""A table of the paper at a scale: everything that is decided before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from idol.config import to_dict
from idol.errors import UserError
from idol.experiments.data_sources import MissingInput
from idol.experiments.plan import RowPlan, plan_row, training_folders
from idol.experiments.tables import RowConfig, ScaleConfig, TableConfig, load_scale, load_table

TABLES = Path("configs") / "tables"
"""Folder of the tables' YAML files, in a clone of the repository."""


@dataclass(frozen=True)
class Study:
    """A table at a scale, resolved.

    Attributes:
        table: The paper's table.
        scale: What the rows share.
        plans: The training stages of the rows that are trained here, by row name.
        given: Folders of the clips of rows that other code made, by row name.
        left_out: Why the other rows are not run, by row name.
        out: Folder of all runs.
        estimator: Joint networks that estimate the depth of rows that produce none, if the scale has them.
    """

    table: TableConfig
    scale: ScaleConfig
    plans: dict[str, RowPlan]
    given: dict[str, Path]
    left_out: dict[str, str]
    out: Path
    estimator: RowPlan | None = None

    @property
    def estimated(self) -> tuple[str, ...]:
        """The rows trained here that produce no depth, if the scale has an estimator of it."""
        if self.scale.depth_estimator is None:
            return ()
        return tuple(name for name, plan in self.plans.items() if not plan.produces_depth)

    @property
    def missing(self) -> tuple[MissingInput, ...]:
        """What training would read and does not exist."""
        return tuple(dict.fromkeys(missing_input for plan in self._trained for missing_input in plan.missing))

    @property
    def data(self) -> tuple[Path, ...]:
        """Folders of the clips that something is trained on."""
        stages = (stage for plan in self._trained for stage in plan.stages)
        return tuple(dict.fromkeys(folder for stage in stages for folder in training_folders(stage)))

    @property
    def _trained(self) -> tuple[RowPlan, ...]:
        return (*self.plans.values(), *(() if self.estimator is None else (self.estimator,)))

    def to_json(self) -> dict[str, Any]:
        """Return plain values: every stage of every row, resolved."""
        return {
            "title": self.table.title,
            "rows": {name: [to_dict(stage) for stage in plan.stages] for name, plan in self.plans.items()},
            "estimator": [] if self.estimator is None else [to_dict(s) for s in self.estimator.stages],
            "given": {name: str(folder) for name, folder in self.given.items()},
            "left_out": dict(self.left_out),
            "missing": [asdict(missing_input) for missing_input in self.missing]
            if self.table.kind == "quality"
            else [],
        }

    def text(self) -> str:
        """Return a readable summary, one line per stage."""
        lines = [self.table.title]
        for row in self.table.rows:
            lines.append(f"\n{row.name}")
            if row.name in self.left_out:
                lines.append(f"  not run: {self.left_out[row.name]}")
            elif self.table.kind == "cost":
                lines.append(f"  measured: {row.method}, random weights, sizes as of this scale's last stage")
            elif row.name in self.given:
                lines.append(f"  clips of {self.given[row.name]}")
            else:
                lines += _stages(self.plans[row.name])
                lines += [f"    {change}" for change in (*row.set, *row.video)]
        if self.estimator is not None:
            lines += [f"\ndepth of {', '.join(self.estimated)}, estimated by joint networks"]
            lines += _stages(self.estimator)
        if self.missing and self.table.kind == "quality":
            lines += [
                "\nmissing",
                *(
                    f"  {missing_input.path}: {missing_input.found}; {missing_input.remedy}"
                    for missing_input in self.missing
                ),
            ]
        return "\n".join(lines) + "\n"


def plan_study(
    table: str,
    scale: str = "tiny",
    out: str | Path = "runs/reproduce",
    *,
    given: Mapping[str, str | Path] | None = None,
    rows: tuple[str, ...] = (),
    folder: str | Path = TABLES,
) -> Study:
    """Resolve a table at a scale, without training anything.

    Args:
        table: Name (`table4`) or path of a table's YAML file.
        scale: Name (`tiny`) or path of a scale's YAML file.
        out: Folder of all runs.
        given: Folders of clips that other code made, named like the test clips, by row name.
        rows: Only the rows of these names; all if empty.
        folder: Where tables are, and scales in its subfolder `scales`.

    Raises:
        UserError: If a file, a row or an override cannot be used.
    """
    config, out = load_table(table, Path(folder)), Path(out)
    base, scale_folder = load_scale(scale, Path(folder))
    shared = base.for_table(config) or base
    folders = {name: Path(path) for name, path in (given or {}).items()}
    known = {row.name: row for row in config.rows}
    for name in [*folders, *rows]:
        if name not in known:
            raise UserError("rows" if name in rows else "clips", repr(name), f"rows: {', '.join(known)}")
    plans, left_out = {}, {}
    for name, row in known.items():
        reason = _skip_reason(row, config, base, folders, rows)
        if reason is not None:
            left_out[name] = reason
        elif name not in folders:
            plans[name] = plan_row(row, shared, scale_folder, out)
    used = {name: path for name, path in folders.items() if name not in left_out}
    planned = Study(config, shared, plans, used, left_out, out)
    source = shared.depth_estimator
    if not planned.estimated or source is None or source.model is not None:
        return planned
    return replace(
        planned, estimator=plan_row(RowConfig("depth estimator", set=source.set), shared, scale_folder, out)
    )


def _stages(plan: RowPlan) -> list[str]:
    return [f"  {stage.stage}: {stage.steps} steps in {stage.out}" for stage in plan.stages]


def _skip_reason(
    row: RowConfig, table: TableConfig, scale: ScaleConfig, given: Mapping[str, Path], rows: tuple[str, ...]
) -> str | None:
    """Return why a row is not run; None if it is."""
    if rows and row.name not in rows:
        return "not asked for"
    if row.name in given and scale.for_table(table) is not None:
        return None
    if row.external:
        return "made by its own code: give its clips"
    return scale.skip_reason(row, table)
