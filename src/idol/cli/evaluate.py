"""Commands that measure: `evaluate`, `import`, `benchmark`, `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import idol
from idol import console
from idol.cli.root import Json, arguments, named_folders, program, show_progress
from idol.cli.train import Overrides

Precision = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="Precision of all weights and arithmetic.")
]
ResNet3d = Annotated[
    Path | None,
    typer.Option(help="Weights of FID-VID's 3-D ResNet-50; without them I3D features are compared."),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")]
Steps = Annotated[
    int | None,
    typer.Option(
        "--num-inference-steps",
        "--steps",
        help="Number of denoising steps of a measured cost.",
        show_default="the config's own",
    ),
]


@program.command()
def evaluate(
    generated: Annotated[Path, typer.Argument(help="A folder of clips, one clip's folder, or shards.")],
    reference: Annotated[Path, typer.Argument(help="The reference clips of the same names.")],
    others: Annotated[
        list[str] | None,
        typer.Option("--other", help="NAME=FOLDER: another set to score beside it; may be repeated."),
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
    resnet3d: ResNet3d = None,
    stride: Annotated[
        int | None,
        typer.Option(help="Frames from one window of FVD to the next.", show_default="half a window"),
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots of the metrics.")] = None,
    device: Device = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the metrics of every clip to this JSON file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare generated clips with reference clips.

    Metrics of images, depth and motion of each clip, and of the distributions.
    """
    given = arguments(locals()) | {"others": named_folders("others", others)}
    with show_progress() as progress:
        report = idol.evaluate(**given, progress=progress)
    console.show(*report.tables())
    if as_json:
        console.emit({"ok": True, **report.to_json()})


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
    """Convert videos of other methods to clips.

    For `idol evaluate`; FOMM, MRAA, TPS and DreamPose are known.
    """
    given = arguments(locals())
    with show_progress("importing") as progress:
        count = idol.import_clips(**given, progress=progress)
    console.say(f"{count} clips in {out}")
    if as_json:
        console.emit({"ok": True, "folder": out, "clips": count})


@program.command()
def benchmark(
    config: Annotated[
        Path, typer.Argument(help="Config file of the stage to measure: configs/mini/video.yaml.")
    ],
    overrides: Overrides = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="idol, separate, mm-diffusion, ldm3d, estimate; may be repeated.",
            show_default="all",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Number of frames of the clip.")] = 8,
    num_inference_steps: Steps = None,
    repeat: Annotated[int, typer.Option(help="Rounds over the methods.")] = 3,
    device: Device = "cpu",
    dtype: Precision = "float32",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the measurements to this JSON file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure what a clip costs with each method.

    Parameters, FLOPs, memory and time of IDOL and the compared methods, with random weights.
    """
    given = arguments(locals())
    with show_progress() as progress:
        report = idol.benchmark(**given, progress=progress)
    console.show(report.table())
    if as_json:
        console.emit({"ok": True, **report.to_json()})


@program.command()
def reproduce(
    table: Annotated[str, typer.Argument(help="table1 ... table8, or a YAML file of your own.")],
    scale: Annotated[str, typer.Option(help="tiny, mini, sd14, or a YAML file of your own.")] = "tiny",
    runs: Annotated[
        Path, typer.Option(help="Folder of the training runs; unfinished ones are continued.")
    ] = Path("runs/reproduce"),
    clips: Annotated[
        list[str] | None, typer.Option(help="ROW=FOLDER: clips made by other code; may be repeated.")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option("--row", help="Only this row; may be repeated.", show_default="all")
    ] = None,
    resnet3d: ResNet3d = None,
    device: Device = "cpu",
    dtype: Precision = "float32",
    num_inference_steps: Steps = None,
    repeat: Annotated[int, typer.Option(help="Rounds over the rows of table7.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print each row's stages and stop.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write NAME.json and NAME.md to this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Reproduce a table of the paper.

    Its rows are trained, generated and evaluated alike, and set beside the paper's figures.
    """
    given = arguments(locals()) | {"clips": named_folders("clips", clips)}
    from idol.experiments.study import Study

    with show_progress() as progress:
        result = idol.reproduce(**given, progress=progress)
    if isinstance(result, Study):
        console.emit(result.to_json()) if as_json else print(result.text(), end="")
        return
    console.show(result.table())
    if as_json:
        console.emit({"ok": True, **result.to_json()})
