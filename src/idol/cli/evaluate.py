"""Verbs that measure: `evaluate`, `import`, `benchmark`, `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from idol import console
from idol.atomic_io import check_file, write_json, write_text
from idol.cli.root import Json, program
from idol.errors import UserError

Precision = Literal["float32", "bfloat16", "float16"]


@program.command()
def evaluate(
    generated: Annotated[Path, typer.Argument(help="A folder of clips, one clip's folder, or shards.")],
    reference: Annotated[Path, typer.Argument(help="The reference clips of the same names.")],
    other: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: another set to score beside it; may be repeated.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Also score the pasted person and the empty background.")
    ] = True,
    pose: Annotated[str, typer.Option(help="Pose estimator: rtmpose, mediapipe, dwpose, none.")] = "rtmpose",
    mask: Annotated[str, typer.Option(help="Mask estimator: mediapipe, none.")] = "mediapipe",
    lpips: Annotated[str, typer.Option(help="Backbone of LPIPS: vgg, alex, none.")] = "vgg",
    identity: Annotated[
        str, typer.Option(help="Embedding that compares persons: inception, none.")
    ] = "inception",
    distributions: Annotated[bool, typer.Option(help="Compute FID, KID, FVD and FID-VID.")] = True,
    resnet3d: Annotated[
        Path | None,
        typer.Option(help="Weights of FID-VID's 3-D ResNet-50; without them I3D features are compared."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Frames from one window of FVD to the next.  [default: half a window]")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots of the metrics.")] = None,
    device: Annotated[str, typer.Option(help="Where the networks run.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the metrics of every clip to this JSON file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare generated clips with reference clips: image, depth, motion, and their distributions."""
    from idol.evaluation.evaluate import evaluate

    with console.show_progress() as progress:
        found = evaluate(
            generated,
            reference,
            others=_named_folders("--other", other),
            baselines=baselines,
            pose=pose,
            mask=mask,
            lpips=lpips,  # type: ignore[arg-type]  # checked there
            identity=identity,  # type: ignore[arg-type]
            distributions=distributions,
            resnet3d=resnet3d,
            stride=stride,
            plots=plots,
            out=out,
            device=device,
            progress=progress,
        )
    console.show(*found.tables())
    if as_json:
        console.emit({"ok": True, **found.to_json()})


@program.command("import")
def import_clips(
    folder: Annotated[Path, typer.Argument(help="What the method's own code wrote.")],
    reference: Annotated[Path, typer.Option(help="The reference clips of the same names.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Receives one folder per clip.")],
    layout: Annotated[
        str,
        typer.Option(help="fomm-png, fomm-grid, video, frames, dreampose: docs/evaluating-other-methods.md."),
    ],
    column: Annotated[
        int | None, typer.Option(help="Column of fomm-grid, from 0; negative from the right.")
    ] = None,
    start: Annotated[int | None, typer.Option(help="Frames to skip at the start of longer videos.")] = None,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="HEIGHT WIDTH of frames of another shape, which are stretched back."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert videos of FOMM, MRAA, TPS or DreamPose to clips for `idol evaluate`."""
    from idol.evaluation.external.importers import import_clips

    with console.show_progress("importing") as progress:
        count = import_clips(
            folder,
            reference,
            out,
            layout,  # type: ignore[arg-type]  # checked there
            column=column,
            start=start,
            size=size,
            progress=progress,
        )
    console.say(f"{count} clips in {out}")
    if as_json:
        console.emit({"ok": True, "folder": out, "clips": count})


@program.command()
def benchmark(
    config: Annotated[Path, typer.Argument(help="The stage whose sizes are taken: configs/mini/video.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="a.b=value, after the file's own.")] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="idol, separate, mm-diffusion, ldm3d, estimate; may be repeated; all by default."),
    ] = None,
    frames: Annotated[int, typer.Option(help="Of the clip.")] = 8,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the config's own by default.")] = None,
    repeat: Annotated[int, typer.Option(help="Rounds over the methods.")] = 3,
    device: Annotated[str, typer.Option(help="Where.")] = "cpu",
    dtype: Annotated[Precision, typer.Option(help="Of all weights and all arithmetic.")] = "float32",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the numbers here.")] = None,
    as_json: Json = False,
) -> None:
    """Parameters, FLOPs, memory and time of IDOL and the compared methods, with random weights."""
    from idol.config import load_config
    from idol.experiments.cost import METHODS, benchmark
    from idol.training.config import TrainConfig

    stage = load_config(TrainConfig, config, overrides or [])
    with console.show_progress("measuring") as progress:
        report = benchmark(
            stage,
            method or tuple(METHODS),
            frames=frames,
            steps=steps,
            repeat=repeat,
            device=device,
            dtype=dtype,
            progress=progress,
        )
    if out is not None:
        write_json(out, report.to_json())
    console.show(report.table())
    if as_json:
        console.emit({"ok": True, **report.to_json()})


@program.command()
def reproduce(
    table: Annotated[str, typer.Argument(help="table1 ... table8, or a YAML of your own.")],
    scale: Annotated[str, typer.Option(help="tiny, mini, sd14, or a YAML of your own.")] = "tiny",
    runs: Annotated[Path, typer.Option(help="Folder of the runs; gone on with.")] = Path("runs/reproduce"),
    clips: Annotated[
        list[str] | None, typer.Option(help="ROW=FOLDER: clips that other code made; may be repeated.")
    ] = None,
    row: Annotated[list[str] | None, typer.Option(help="Only this row; may be repeated.")] = None,
    resnet3d: Annotated[Path | None, typer.Option(help="Weights of FID-VID's 3-D ResNet-50.")] = None,
    device: Annotated[str, typer.Option(help="Where clips are made and judged, and costs measured.")] = "cpu",
    dtype: Annotated[
        Precision, typer.Option(help="Of all weights and all arithmetic whose cost is measured (table7).")
    ] = "float32",
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps of table7.  [default: the scale's own]")
    ] = None,
    repeat: Annotated[int, typer.Option(help="Rounds over the rows of table7.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print each row's stages and stop.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write NAME.json and NAME.md into this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """A table of the paper: its rows trained, generated and judged alike, beside the paper's figures."""
    from idol.experiments.cost.table7 import CostTable, costs
    from idol.experiments.report import TableResult
    from idol.experiments.study import reproduce, study

    name = f"{Path(table).stem}_{Path(scale).stem}"
    if out is not None and not dry_run:
        check_file(out / f"{name}.json")
    given = _named_folders("--clips", clips)
    this = study(table, scale, runs, given=given, rows=tuple(row or ()))
    if dry_run:
        console.emit(this.to_json()) if as_json else print(this.text(), end="")
        return
    result: CostTable | TableResult
    if this.table.kind == "cost":
        with console.show_progress("measuring") as progress:
            result = costs(this, steps=steps, repeat=repeat, device=device, dtype=dtype, progress=progress)
    else:
        with console.show_progress() as progress:
            result = reproduce(this, device=device, resnet3d=resnet3d, progress=progress)
    if out is not None:
        write_json(out / f"{name}.json", result.to_json())
        write_text(out / f"{name}.md", result.markdown())
    console.show(result.table())
    if as_json:
        console.emit({"ok": True, **result.to_json()})


def _named_folders(option: str, texts: list[str] | None) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for text in texts or []:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UserError(option, text, "write NAME=FOLDER")
        if name in named:
            raise UserError(option, f"{name} is named twice", "give each set a name of its own")
        named[name] = Path(folder)
    return named
