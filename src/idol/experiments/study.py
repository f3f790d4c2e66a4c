"""One table, from its rows to its report."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from idol.assets import sha256_of
from idol.clip import Clip
from idol.config import to_dict
from idol.data.shards import MANIFEST
from idol.errors import UserError
from idol.evaluation import optional_imports
from idol.evaluation.clip_sets import check_names
from idol.evaluation.distribution_metrics import SetReport, reported
from idol.evaluation.evaluate import judge, open_clips
from idol.evaluation.feature_extraction import Networks
from idol.evaluation.report import ROWS, TRUE, Report, compare, described
from idol.evaluation.statistics import Estimate
from idol.experiments.cost import processor
from idol.experiments.cost.hardware import usable
from idol.experiments.data_sources import Missing, check_there, training_clips
from idol.experiments.estimated_depth import by_depth_model, by_joint_networks, with_depth
from idol.experiments.feature_cache import kept_features
from idol.experiments.plan import Plan, folders_of, planned, remade, trained
from idol.experiments.report import FIGURES, RowResult, TableResult
from idol.experiments.tables import RowConfig, ScaleConfig, TableConfig, TestClips, load_scale, load_table
from idol.generation.generate import load_pipeline, package_versions
from idol.prepare.estimators.depth import DepthModel
from idol.progress import Bar, no_bar
from idol.synthesis.dataset import check_installed
from idol.training.checkpoint import load_tensors
from idol.training.initialization import find_weights

TABLES = Path("configs") / "tables"


@dataclass(frozen=True)
class Study:
    """A table at a scale: everything that is decided before anything is trained.

    Attributes:
        table: The paper's.
        scale: What the rows share.
        plans: Of the rows that are trained here, by name.
        given: Folders of clips of the rows that are not.
        estimator: Joint networks that estimate the depth of rows that make none, where the scale has such.
        left_out: Why the other rows cannot be run.
        out: Folder of all runs.
    """

    table: TableConfig
    scale: ScaleConfig
    plans: dict[str, Plan]
    given: dict[str, Path]
    left_out: dict[str, str]
    out: Path
    estimator: Plan | None = None

    @property
    def estimated(self) -> tuple[str, ...]:
        """Rows trained here that make no depth of their own, where something estimates it."""
        if self.scale.depth_estimator is None:
            return ()
        return tuple(name for name, plan in self.plans.items() if not plan.makes_depth)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What training would read and is not there."""
        return tuple(dict.fromkeys(one for plan in self._trained for one in plan.missing))

    @property
    def data(self) -> tuple[Path, ...]:
        """Folders of clips that something is trained on."""
        stages = (stage for plan in self._trained for stage in plan.stages)
        return tuple(dict.fromkeys(folder for stage in stages for folder in folders_of(stage)))

    @property
    def _trained(self) -> tuple[Plan, ...]:
        return (*self.plans.values(), *(() if self.estimator is None else (self.estimator,)))

    def to_json(self) -> dict[str, Any]:
        """Every stage of every row, resolved."""
        return {
            "title": self.table.title,
            "rows": {name: [to_dict(stage) for stage in plan.stages] for name, plan in self.plans.items()},
            "estimator": [] if self.estimator is None else [to_dict(s) for s in self.estimator.stages],
            "given": {name: str(folder) for name, folder in self.given.items()},
            "left_out": dict(self.left_out),
            "missing": [asdict(one) for one in self.missing] if self.table.kind == "quality" else [],
        }

    def text(self) -> str:
        """For people: a line a stage."""
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
            lines += ["\nmissing", *(f"  {one.path}: {one.found}; {one.hint}" for one in self.missing)]
        return "\n".join(lines) + "\n"


def study(
    table: str,
    scale: str = "tiny",
    out: str | Path = "runs/reproduce",
    *,
    given: Mapping[str, str | Path] | None = None,
    rows: tuple[str, ...] = (),
    folder: str | Path = TABLES,
) -> Study:
    """Decide what a table's rows are; trains nothing.

    Args:
        table: Name (`table4`) or path of a table's YAML.
        scale: Name or path of a scale's YAML.
        out: Folder of all runs.
        given: Clips of rows that other code made, by the row's name: folders of the test clips' names.
        rows: Only these; all by default.
        folder: Where tables are, and scales in its `scales`.

    Raises:
        UserError: If a file, a row or an override cannot be used.
    """
    config, out = load_table(table, Path(folder)), Path(out)
    own, beside = load_scale(scale, Path(folder))
    shared = own.for_table(config) or own
    folders = {name: Path(path) for name, path in (given or {}).items()}
    known = {row.name: row for row in config.rows}
    for name in [*folders, *rows]:
        if name not in known:
            raise UserError("--row" if name in rows else "--clips", repr(name), f"rows: {', '.join(known)}")
    plans, left_out = {}, {}
    for name, row in known.items():
        why = _why_not(row, config, own, folders, rows)
        if why is not None:
            left_out[name] = why
        elif name not in folders:
            plans[name] = planned(row, shared, beside, out)
    judged = {name: path for name, path in folders.items() if name not in left_out}
    this = Study(config, shared, plans, judged, left_out, out)
    source = shared.depth_estimator
    if not this.estimated or source is None or source.model is not None:
        return this
    return replace(this, estimator=planned(RowConfig("depth estimator", set=source.set), shared, beside, out))


def _stages(plan: Plan) -> list[str]:
    return [f"  {stage.stage}: {stage.steps} steps in {stage.out}" for stage in plan.stages]


def _why_not(
    row: RowConfig, table: TableConfig, scale: ScaleConfig, given: Mapping[str, Path], rows: tuple[str, ...]
) -> str | None:
    if rows and row.name not in rows:
        return "not asked for"
    if row.name in given and scale.for_table(table) is not None:
        return None
    if row.external:
        return "made by its own code: give its clips"
    return scale.why_not(row, table)


def reproduce(
    this: Study, *, device: str = "cpu", resnet3d: Path | None = None, bar: Bar = no_bar
) -> TableResult:
    """Train, generate and judge the rows of a table of the kind `quality`.

    Args:
        this: From `study`.
        device: Where clips are made and judged.
        resnet3d: Weights of the 3-D ResNet of FID-VID; without them the same distance on I3D's features.
        bar: Shows how far a named piece of work is.

    Raises:
        UserError: If the device, a package, training, the true clips or given clips cannot be used, or no row
            can be run; what can be known before anything is drawn or trained is told then.
    """
    networks = _ready(this, device, resnet3d)
    with bar("drawing the test clips") as progress:
        true_folder = _true_clips(this.scale.test, this.out, progress)
    true, key = open_clips(true_folder), _key(true_folder)
    for name, given in this.given.items():
        check_names({TRUE: true, name: open_clips(given)})
    folders = {**this.given, TRUE: true_folder}
    for name, plan in this.plans.items():
        trained(plan)
        with bar(f"{name}: making clips") as progress:
            folders[name] = remade(plan, true, key, device, progress)
    folders |= _estimated(this, folders, true, device, bar)
    rows_run = [row.name for row in this.table.rows if row.name in folders]
    columns = {name: open_clips(folders[name]) for name in rows_run}
    with bar("judging clips") as progress:
        clips = compare(columns, true, judge("none", "none", "none", identity="none"), progress)
    seen = {}
    for name, of in {**columns, TRUE: true}.items():
        with bar(f"{name}: looking at clips") as progress:
            own = folders[name] if folders[name].is_relative_to(this.out) else None
            seen[name] = kept_features(of, clips.clips, networks, own, progress)
    sets = reported(clips.clips, seen, networks.metrics(), None, networks.weights, clips.people)
    rows = tuple(_result(row, this, clips, sets) for row in this.table.rows)
    return TableResult(
        title=this.table.title,
        scale=this.scale.about,
        judged=described(len(clips.clips), clips.people),
        trained_on=tuple(training_clips(folder) for folder in this.data),
        rows=rows,
        notes=_notes(this),
        provenance=_provenance(this, sets),
    )


def _ready(this: Study, device: str, resnet3d: Path | None) -> Networks:
    """The networks that look at clips, once all that can be checked cheaply has been."""
    if not this.plans and not this.given:
        raise UserError("TABLE", "none of its rows can be run at this scale", "see --dry-run")
    usable(device)
    for name in ("cv2", "skimage.metrics"):
        optional_imports.module(name)
    folder = _true_folder(this.scale.test, this.out)
    if this.scale.test.folder is None and not (folder / MANIFEST).is_file():
        check_installed()
    check_there(this.missing)
    for given in this.given.values():
        open_clips(given)
    return Networks(resnet3d=resnet3d, device=device)


def _estimated(
    this: Study, folders: Mapping[str, Path], true: Mapping[str, Clip], device: str, bar: Bar
) -> dict[str, Path]:
    """Folders of the clips of rows that make no depth, with depth that is estimated."""
    source = this.scale.depth_estimator
    if source is None or not this.estimated:
        return {}
    if this.estimator is not None:
        pipe = load_pipeline(str(trained(this.estimator)), device)
        estimate, by = by_joint_networks(pipe), this.estimator.folder.name
    else:
        assert source.model is not None, "DepthEstimator saw to it"
        estimate, by = by_depth_model(DepthModel(source.model, device).estimate), Path(source.model).name
    made = {}
    for name in this.estimated:
        with bar(f"{name}: estimating depth") as progress:
            folder = folders[name].with_name(f"{folders[name].name}-{by}")
            made[name] = with_depth(open_clips(folders[name]), true, folder, estimate, progress)
    return made


def _notes(this: Study) -> tuple[str, ...]:
    """The table's, and whose depth is not their own."""
    if not this.estimated or this.scale.depth_estimator is None:
        return this.table.notes
    by = this.scale.depth_estimator.model or "joint networks that are given it clean"
    return (
        *this.table.notes,
        f"Depth of {', '.join(this.estimated)}: estimated on the finished video by {by}.",
    )


def _result(row: RowConfig, this: Study, clips: Report, sets: SetReport) -> RowResult:
    """One row of the table, with what both reports say of it."""
    if row.name in this.left_out:
        return RowResult(row, why_not=this.left_out[row.name])
    measured = {figure.key for figure in FIGURES}
    figures = {r.key: clips.estimate(row.name, r) for r in ROWS if r.key in measured}
    drawn = {r.key: clips.draws(row.name, r) for r in ROWS if r.key in measured}
    for key, d in sets.columns[row.name].items():
        if key in measured and d.value is not None:
            low, high = (-math.inf, math.inf) if d.low is None or d.high is None else (d.low, d.high)
            figures[key] = Estimate(d.value, low, high, d.clips)
            drawn[key] = np.array(d.draws) if d.draws else np.full(1, np.nan)  # of one person: undecided
    figures = {key: estimate for key, estimate in figures.items() if math.isfinite(estimate.value)}
    return RowResult(row, _parameters(this.plans.get(row.name)), figures, drawn)


def _parameters(plan: Plan | None) -> int | None:
    """How many numbers were trained: all of the checkpoint's."""
    if plan is None:
        return None
    average = load_tensors(find_weights(plan.folder), "average")
    return sum(tensor.numel() for tensor in average.values())


def _provenance(this: Study, sets: SetReport) -> dict[str, Any]:
    """What else decides the numbers."""
    return {
        "runs": {name: plan.folder.name for name, plan in this.plans.items()},
        "test": to_dict(this.scale.test),
        "set_metrics": sets.to_json(),
        "versions": list(package_versions()),
        "machine": f"{processor()}, threads: {torch.get_num_threads()}",
    }


def _true_folder(test: TestClips, out: Path) -> Path:
    """Where the test clips are, or will be drawn."""
    if test.folder is not None:
        return test.folder
    kind = [k for k, usual in ((test.depth, "person"), (test.joints, "body")) if k != usual]
    return out / "-".join([f"{test.split}-{test.seed}-{test.size}-{test.clips}", *kind])


def _true_clips(test: TestClips, out: Path, progress: Callable[[int, int], None] | None) -> Path:
    """Folder of the test clips, drawn if need be."""
    folder = _true_folder(test, out)
    if test.folder is not None:
        return folder
    from idol import synthesis

    return synthesis.generate(
        folder,
        test.clips,
        test.seed,
        size=test.size,
        split=test.split,
        depth=test.depth,
        joints=test.joints,
        progress=progress,
    )


def _key(folder: Path) -> str:
    """Names test clips by what they are: the manifest of shards holds their checksums."""
    manifest = folder / MANIFEST
    files = [manifest] if manifest.is_file() else [f for f in sorted(folder.rglob("*")) if f.is_file()]
    said = [(str(file.relative_to(folder)), sha256_of(file)) for file in files]
    return f"{folder.name}-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]}"
