"""The verbs of the command line: each calls the Python function of the same name and tells how it went."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from idol import terminal
from idol.errors import UserError

app = typer.Typer(
    name="idol",
    help="A video of a person and its depth, from one photo, a background and a motion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Also print one line of JSON on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run folder if it is there.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 2 the user's mistake, 1 ours, 130 interrupted.
    """
    if not sys.warnoptions:  # what libraries tell their developers is no news to users
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    command = typer.main.get_command(app)

    def work() -> Any:
        return command.main(words, prog_name="idol", standalone_mode=False)

    return terminal.exit_code(work, as_json="--json" in words)


def _version(wanted: bool) -> None:
    if wanted:
        from idol import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _idol(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")] = Path("out/demo"),
    frames: Annotated[int, typer.Option(help="Length of the video.")] = 24,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 10.0,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    seed: Annotated[int, typer.Option(help="Of the starting noise.")] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """A real person before a real background follows a real walk: everything comes with the package."""
    from idol.demo import demo

    with terminal.reporter() as reporter:
        run = demo(
            out, frames=frames, fps=fps, steps=steps, seed=seed, overwrite=overwrite, reporter=reporter
        )
    terminal.tell_run(run, as_json)


@app.command()
def generate(
    context: typer.Context,
    person: Annotated[Path | None, typer.Option(help="A photo of the person.")] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="An image, a colour (grey, #88aaff), or `photo`: the photo's own, the person taken out."
        ),
    ] = None,
    motion: Annotated[
        str | None, typer.Option(help="A video, a folder of OpenPose JSON, or builtin:NAME.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run folder that is made.")] = None,
    from_run: Annotated[
        Path | None,
        typer.Option("--from", help="A run.json: repeat that run exactly; takes no other setting."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="mini, a folder, or a hub id.  [default: mini]")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the starting noise.  [default: 0]")] = None,
    frames: Annotated[int | None, typer.Option(help="Length of the result.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.  [default: the motion's]")] = None,
    height: Annotated[int | None, typer.Option(help="Of the frames, in pixels.")] = None,
    width: Annotated[int | None, typer.Option(help="Of the frames, in pixels.")] = None,
    retarget: Annotated[
        bool | None,
        typer.Option("--retarget/--no-retarget", help="Fit the motion to the person's build.  [default: on]"),
    ] = None,
    person_index: Annotated[int | None, typer.Option(help="Which of several people in the photo.")] = None,
    estimator: Annotated[
        str | None, typer.Option(help="Pose estimator: rtmpose, mediapipe, dwpose.  [default: rtmpose]")
    ] = None,
    cmap: Annotated[str | None, typer.Option(help="Colours of depth.mp4: hot or gray.")] = None,
    detail: Annotated[
        str | None,
        typer.Option(help="composite: the background as given; restore: as generated, sharpened; none."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """A photo, a background and a motion in; a video and its depth out."""
    if out is None:
        raise UserError("-o", "is missing", "name the folder to write")
    apart = ("out", "from_run", "overwrite", "as_json")
    given = {k: v for k, v in context.params.items() if v is not None and k not in apart}
    with terminal.reporter() as reporter:
        if from_run is not None:
            run = _repeat(from_run, out, given, overwrite, reporter)
        else:
            run = _generate(out, given, overwrite, reporter)
    terminal.tell_run(run, as_json)


def _generate(out: Path, given: dict[str, Any], overwrite: bool, reporter: Any) -> Any:
    from idol.generate import generate

    for name in ("person", "background", "motion"):
        if name not in given:
            raise UserError(f"--{name}", "is missing", "give all of --person, --background and --motion")
    return generate(out=out, overwrite=overwrite, reporter=reporter, **given)


def _repeat(from_run: Path, out: Path, given: dict[str, Any], overwrite: bool, reporter: Any) -> Any:
    from idol.generate import repeat

    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise UserError("--from", f"cannot be joined with {option}", "leave one of them away")
    return repeat(from_run, out, overwrite=overwrite, reporter=reporter)


@app.command()
def synth(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the shards; an unfinished one is continued.")
    ],
    clips: Annotated[int, typer.Option(help="How many.")],
    seed: Annotated[int, typer.Option(help="Names the set: with the split it settles every clip.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels along a side.")] = 256,
    frames: Annotated[int, typer.Option(help="Frames in a clip.")] = 8,
    split: Annotated[str, typer.Option(help="Whose people and motions: train, val or test.")] = "train",
    motion_dir: Annotated[Path | None, typer.Option(help="More motions: .bvh, DeepMimic .txt, .npz.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes.  [default: one per core]")] = None,
    as_json: Json = False,
) -> None:
    """Synthetic people with exact depth, as shards for training and evaluation."""
    from idol.synth import generate

    with terminal.progress_bar("drawing clips") as progress:
        folder = generate(
            out,
            clips,
            seed,
            size=size,
            frames=frames,
            workers=workers,
            split=split,  # type: ignore[arg-type]  # checked there
            motion_dir=motion_dir,
            progress=progress,
        )
    terminal.say(f"{clips} clips in {folder}")
    if as_json:
        terminal.emit({"ok": True, "folder": folder, "clips": clips, "seed": seed, "split": split})


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="The stage: a file of configs/, or your own.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="a.b=value, after the file's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved config and stop.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="When done, write a folder for `idol generate --weights` here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One stage of training."""
    from idol.config import dump, to_dict

    stage, fit = _stage(config, overrides or [], resume)
    if dry_run:
        terminal.emit(to_dict(stage)) if as_json else print(dump(stage), end="")
        return
    if export is not None:
        _check_export(export, stage.stage)
    folder = fit()
    terminal.say(f"checkpoint {folder}")
    if export is not None:
        from idol.training.export import export as export_run

        export_run(folder, export)
        terminal.say(f"weights    {export}")
    if as_json:
        done = {"stage": stage.stage, "out": stage.out, "checkpoint": folder, "weights": export}
        terminal.emit({"ok": True, **done})


def _check_export(folder: Path, stage: str) -> None:
    """Refuse, before hours of training, what could not be exported or would be lost by it."""
    if stage == "autoencoder":
        raise UserError("--export", "the autoencoder alone generates nothing", "export a later stage")
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise UserError("--export", f"{folder} exists and holds no weights", "name another folder")


def _stage(path: Path, overrides: list[str], resume: bool) -> tuple[Any, Callable[[], Path]]:
    """The config of a stage, and what trains it."""
    from idol.config import load_config

    if _stage_name(path) == "autoencoder":
        from idol.train_autoencoder import AutoencoderConfig, fit_autoencoder

        autoencoder = load_config(AutoencoderConfig, path, overrides)
        return autoencoder, lambda: fit_autoencoder(autoencoder)
    from idol.train import TrainConfig, fit

    diffusion = load_config(TrainConfig, path, overrides)
    return diffusion, lambda: fit(diffusion, resume)


def _stage_name(path: Path) -> object:
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):  # told in full when the config is loaded
        return None
    return values.get("stage") if isinstance(values, dict) else None


@app.command()
def evaluate(
    generated: Annotated[Path, typer.Argument(help="A folder of clips, one clip's folder, or shards.")],
    true: Annotated[Path, typer.Argument(help="The true clips of the same names.")],
    other: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: another set, judged beside it; may be repeated.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Judge the pasted person and the empty background, too.")
    ] = True,
    pose: Annotated[str, typer.Option(help="Pose estimator: rtmpose, mediapipe, dwpose, none.")] = "rtmpose",
    mask: Annotated[str, typer.Option(help="Mask estimator: mediapipe, none.")] = "mediapipe",
    lpips: Annotated[str, typer.Option(help="Network of LPIPS: vgg, alex, none.")] = "vgg",
    device: Annotated[str, typer.Option(help="Where LPIPS is computed.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the numbers of every clip here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Generated clips against the true ones: depth, silhouette, pose, look, colours and flicker."""
    from idol.evaluate import evaluate

    others = dict(_named_folder(text) for text in other or [])
    with terminal.progress_bar("judging clips") as progress:
        report = evaluate(
            generated,
            true,
            others=others,
            baselines=baselines,
            pose=pose,
            mask=mask,
            lpips=lpips,  # type: ignore[arg-type]  # checked there
            device=device,
            progress=progress,
        )
    if out is not None:
        terminal.write_json(out, report.to_json(per_clip=True))
    terminal.show(report.table())
    if as_json:
        terminal.emit({"ok": True, **report.to_json()})


@app.command()
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
    dtype: Annotated[str, typer.Option(help="Of the weights: float32, bfloat16, float16.")] = "float32",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the numbers here.")] = None,
    as_json: Json = False,
) -> None:
    """Parameters, FLOPs, memory and time of IDOL and the compared methods, with random weights."""
    from idol.benchmark import METHODS, benchmark
    from idol.config import load_config
    from idol.train import TrainConfig

    stage = load_config(TrainConfig, config, overrides or [])
    with terminal.progress_bar("measuring") as progress:
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
        terminal.write_json(out, report.to_json())
    terminal.show(report.table())
    if as_json:
        terminal.emit({"ok": True, **report.to_json()})


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UserError("--other", text, "write NAME=FOLDER")
    return name, Path(folder)
