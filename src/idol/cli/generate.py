"""Verbs that make videos: `demo`, `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from idol import console
from idol.cli.option_names import note_in_options
from idol.cli.root import Certificate, Json, Overwrite, PrivateKey, Watermark, program
from idol.errors import UserError


@program.command()
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
    from idol.generation.demo import demo

    with console.show_progress(words=note_in_options) as progress:
        run = demo(
            out, frames=frames, fps=fps, steps=steps, seed=seed, overwrite=overwrite, progress=progress
        )
    console.tell_run(run, as_json)


@program.command()
def generate(
    context: typer.Context,
    person: Annotated[Path | None, typer.Option(help="A photo of the person.")] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="An image, a color (gray, #88aaff), or `photo`: the photo's own, the person taken out."
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
    colormap: Annotated[str | None, typer.Option(help="Colors of depth.mp4: hot or gray.")] = None,
    detail: Annotated[
        str | None,
        typer.Option(help="composite: the background as given; restore: as generated, sharpened; none."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    watermark: Watermark = None,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """A photo, a background and a motion in; a video and its depth out."""
    if out is None:
        raise UserError("-o", "is missing", "name the folder to write")
    apart = ("out", "from_run", "overwrite", "as_json")
    given = {k: v for k, v in context.params.items() if v is not None and k not in apart}
    with console.show_progress(words=note_in_options) as progress:
        if from_run is not None:
            run = _repeat(from_run, out, given, overwrite, progress)
        else:
            run = _generate(out, given, overwrite, progress)
    console.tell_run(run, as_json)


def _generate(out: Path, given: dict[str, Any], overwrite: bool, progress: Any) -> Any:
    from idol.generation.generate import generate

    for name in ("person", "background", "motion"):
        if name not in given:
            raise UserError(f"--{name}", "is missing", "give all of --person, --background and --motion")
    return generate(out=out, overwrite=overwrite, progress=progress, **given)


def _repeat(from_run: Path, out: Path, given: dict[str, Any], overwrite: bool, progress: Any) -> Any:
    from idol.generation.generate import repeat

    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise UserError("--from", f"cannot be joined with {option}", "leave one of them away")
    return repeat(from_run, out, overwrite=overwrite, progress=progress)
