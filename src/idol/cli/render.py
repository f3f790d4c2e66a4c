"""The command that renders views: `render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import idol
from idol import console
from idol.cli.root import (
    Certificate,
    Fov,
    Json,
    PersonHeight,
    PrivateKey,
    Watermark,
    arguments,
    program,
    show_progress,
)


@program.command()
def render(
    clip: Annotated[Path, typer.Argument(help="Folder of a clip, such as `idol generate` writes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="parallax, stereo, points, scene-points, mesh, exr, depth; may be repeated.",
            show_default="parallax",
        ),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            help="Camera path: sway, dolly, orbit, still, or a YAML file of keyframes.",
            show_default="sway; for stereo, still",
        ),
    ] = None,
    amount: Annotated[
        float | None,
        typer.Option(
            help="How far the camera moves, as a share of the distance to the person.",
            show_default="0.07, which is 4 degrees",
        ),
    ] = None,
    stereo: Annotated[
        str,
        typer.Option(
            help="side-by-side, side-by-side-half, top-bottom, top-bottom-half, anaglyph, anaglyph-gray."
        ),
    ] = "side-by-side",
    baseline: Annotated[
        float, typer.Option(help="Distance between the eyes, meters; negative swaps them.")
    ] = 0.063,
    convergence: Annotated[
        float | None,
        typer.Option(
            help="Distance of what appears at the screen, meters.", show_default="the person's distance"
        ),
    ] = None,
    fov: Fov = None,
    person_height: PersonHeight = 1.7,
    height: Annotated[
        int | None, typer.Option(help="Height of the videos, pixels.", show_default="the clip's")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Width of the videos, pixels.", show_default="the clip's")
    ] = None,
    mesh_step: Annotated[int, typer.Option(help="Side of a mesh cell, pixels, 1 to 4.")] = 1,
    watermark: Watermark = True,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the folder if it holds views.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Render a clip from other viewpoints, or as 3-D files.

    A moving camera, stereo, point clouds, meshes, layers of color and depth.
    """
    given = arguments(locals())
    with show_progress("rendering") as progress:
        views = idol.render(**given, progress=progress)
    for file in views.files:
        console.say(str(file))
    if as_json:
        files = [str(file) for file in views.files]
        scale = {"fov": round(views.camera.fov, 2), "metric": views.metric}
        console.emit({"ok": True, "folder": views.folder, "files": files, **scale})
