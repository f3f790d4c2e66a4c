"""Commands that generate: `demo`, `generate`, `repeat`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import idol
from idol import console
from idol.cli.option_names import note_in_options
from idol.cli.root import (
    Certificate,
    Json,
    Overwrite,
    PrivateKey,
    Seed,
    Steps,
    Watermark,
    arguments,
    program,
    show_progress,
)

if TYPE_CHECKING:
    from idol.generation.generate import Run

Out = Annotated[Path, typer.Option("--out", "-o", help="The run folder to write.")]


@program.command()
def demo(
    out: Out = Path("out/demo"),
    frames: Annotated[int, typer.Option(help="Number of frames.")] = 24,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 10.0,
    num_inference_steps: Steps = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Animate the bundled photo by a bundled motion.

    Photo, background, motion and weights come with the package.
    """
    given = arguments(locals())
    with show_progress() as progress:
        run = idol.demo(**given, progress=progress)
    _tell(run, as_json)


@program.command()
def generate(
    person: Annotated[Path, typer.Option(help="A photo of the person.")],
    background: Annotated[
        str,
        typer.Option(
            help="An image, a color (gray, #88aaff), or `photo`: the photo's own background, "
            "with the person removed."
        ),
    ],
    motion: Annotated[
        str,
        typer.Option(help="A video of a moving person, a folder of OpenPose JSON files, or builtin:NAME."),
    ],
    out: Out,
    weights: Annotated[str, typer.Option(help="The checkpoint: mini, a folder, or a hub id.")] = "mini",
    num_inference_steps: Steps = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            help="Scale of classifier-free guidance; 1 is no guidance.", show_default="the checkpoint's own"
        ),
    ] = None,
    seed: Seed = 0,
    frames: Annotated[
        int | None, typer.Option(help="Number of frames.", show_default="the motion's, at most 64")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.", show_default="the motion's")] = None,
    height: Annotated[
        int | None, typer.Option(help="Height of the frames, pixels.", show_default="the checkpoint's own")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Width of the frames, pixels.", show_default="the checkpoint's own")
    ] = None,
    retarget: Annotated[
        bool,
        typer.Option("--retarget/--no-retarget", help="Fit the motion to the person's build and position."),
    ] = True,
    person_index: Annotated[
        int | None,
        typer.Option(help="Which of several persons in the photo, from 0.", show_default="the largest"),
    ] = None,
    estimator: Annotated[str, typer.Option(help="Pose estimator: rtmpose, mediapipe, dwpose.")] = "rtmpose",
    colormap: Annotated[str, typer.Option(help="Colors of depth.mp4: hot or gray.")] = "hot",
    detail: Annotated[
        str | None,
        typer.Option(
            help="composite: show the background as given; restore: as generated, with its detail restored; "
            "none: frames as decoded.",
            show_default="the checkpoint's own",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="a GPU if there is one"),
    ] = None,
    watermark: Watermark = True,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Animate the person of a photo: write a video and its depth."""
    given = arguments(locals())
    with show_progress() as progress:
        run = idol.generate(**given, progress=progress)
    _tell(run, as_json)


@program.command()
def repeat(
    run: Annotated[Path, typer.Argument(help="A run folder, or its run.json.")],
    out: Out,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Generate the frames of an earlier run again.

    On the same machine with the same packages they are equal bit for bit.
    """
    given = arguments(locals())
    with show_progress() as progress:
        repeated = idol.repeat(**given, progress=progress)
    _tell(repeated, as_json)


def _tell(run: Run, as_json: bool) -> None:
    """Print where the files of a run are."""
    files = {
        "video": run.folder / "video.mp4",
        "depth": run.folder / "depth.mp4",
        "preview": run.folder / "preview.png",
    }
    for name, path in files.items():
        console.say(f"{name:7} {path}")
    if as_json:
        record, notes = run.record, [note_in_options(note) for note in run.record.notes]
        told = {"frames": record.frames, "seed": record.settings.seed, "seconds": round(record.seconds, 2)}
        console.emit({"ok": True, "folder": run.folder, **files, **told, "notes": notes})
