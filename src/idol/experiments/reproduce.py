"""A table of the paper, from its name to its report: `idol.reproduce`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from idol.atomic_io import check_file, write_json, write_text
from idol.experiments.cost.methods import Precision
from idol.experiments.cost.table7 import CostTable, measure_cost_table
from idol.experiments.quality_table import run_quality_table
from idol.experiments.report import TableResult
from idol.experiments.study import Study, plan_study
from idol.progress import SILENT, ProgressCallback


def reproduce(
    table: str,
    scale: str = "tiny",
    *,
    runs: str | Path = "runs/reproduce",
    clips: Mapping[str, str | Path] | None = None,
    rows: Sequence[str] = (),
    resnet3d: str | Path | None = None,
    device: str = "cpu",
    dtype: Precision = "float32",
    num_inference_steps: int | None = None,
    repeat: int = 3,
    dry_run: bool = False,
    out: str | Path | None = None,
    progress: ProgressCallback = SILENT,
) -> TableResult | CostTable | Study:
    """Train, generate and evaluate the rows of a table, beside the paper's figures.

    Args:
        table: "table1" ... "table8", or a YAML file of your own.
        scale: "tiny", "mini", "sd14", or a YAML file of your own.
        runs: Folder of the training runs; unfinished ones are continued.
        clips: Folders of clips made by other code, by the name of their row.
        rows: Only the rows of these names; all if empty.
        resnet3d: Weights of the 3-D ResNet-50 of FID-VID; without them I3D features are compared.
        device: Where clips are generated and evaluated, and costs measured.
        dtype: Precision of weights and arithmetic whose cost is measured (table7).
        num_inference_steps: Denoising steps of table7; the scale's default if None.
        repeat: Rounds over the rows of table7, at least 1.
        dry_run: Only resolve every row's stages, and return the `Study`.
        out: Folder for NAME.json and NAME.md.
        progress: Receives a stage for each row, and steps.

    Raises:
        UserError: If the table, the scale, a row or given clips cannot be used, or a row cannot be run.
    """
    name = f"{Path(table).stem}_{Path(scale).stem}"
    if out is not None and not dry_run:
        check_file(Path(out) / f"{name}.json")
    study = plan_study(table, scale, runs, given=clips, rows=tuple(rows))
    if dry_run:
        return study
    result: CostTable | TableResult
    if study.table.kind == "cost":
        progress.stage("measuring costs")
        result = measure_cost_table(
            study,
            num_inference_steps=num_inference_steps,
            repeat=repeat,
            device=device,
            dtype=dtype,
            progress=progress,
        )
    else:
        weights = None if resnet3d is None else Path(resnet3d)
        result = run_quality_table(study, device=device, resnet3d=weights, progress=progress)
    if out is not None:
        write_json(Path(out) / f"{name}.json", result.to_json())
        write_text(Path(out) / f"{name}.md", result.markdown())
    return result
