"""The verb that makes views: `render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idol import console
from idol.cli.root import Certificate, Json, PrivateKey, Watermark, program


@program.command()
def render(
    clip: Annotated[Path, typer.Argument(help="The folder of a clip: what `idol generate` writes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that is made.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="parallax, stereo, points, scene-points, mesh, exr, depth; may be repeated.  "
            "[default: parallax]"
        ),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            help="The camera's: sway, dolly, orbit, still, or a YAML of keyframes.  "
            "[default: sway; of stereo, still]"
        ),
    ] = None,
    amount: Annotated[
        float | None, typer.Option(help="How far it moves, in distances of the person: 0.07 is 4 degrees.")
    ] = None,
    stereo: Annotated[
        str,
        typer.Option(
            help="side-by-side, side-by-side-half, top-bottom, top-bottom-half, anaglyph, anaglyph-gray."
        ),
    ] = "side-by-side",
    baseline: Annotated[float, typer.Option(help="Meters between the eyes; negative swaps them.")] = 0.063,
    convergence: Annotated[
        float | None, typer.Option(help="Meters to what appears at the screen.  [default: the person]")
    ] = None,
    fov: Annotated[
        float | None, typer.Option(help="Vertical field of view in degrees.  [default: from the clip, or 35]")
    ] = None,
    person_height: Annotated[
        float, typer.Option(help="Meters; the scale where the clip's distances are not known.")
    ] = 1.7,
    height: Annotated[int | None, typer.Option(help="Of the videos, pixels.  [default: the clip's]")] = None,
    width: Annotated[int | None, typer.Option(help="Of the videos, pixels.  [default: the clip's]")] = None,
    mesh_step: Annotated[int, typer.Option(help="Pixels a side of the mesh's cells, 1 to 4.")] = 1,
    watermark: Watermark = None,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the folder if it holds views.")
    ] = False,
    as_json: Json = False,
) -> None:
    """2.5-D views of a clip: a moving camera, two eyes, points, meshes, layers."""
    from idol.rendering import render

    with console.show_progress("rendering") as progress:
        made = render(
            clip,
            out,
            kind or ("parallax",),
            path=path,
            amount=amount,
            stereo=stereo,  # type: ignore[arg-type]  # checked there
            baseline=baseline,
            convergence=convergence,
            fov=fov,
            person_height=person_height,
            height=height,
            width=width,
            mesh_step=mesh_step,
            watermark=watermark is not False,
            certificate=certificate,
            private_key=private_key,
            overwrite=overwrite,
            progress=progress,
        )
    for file in made.files:
        console.say(str(file))
    if as_json:
        files = [str(file) for file in made.files]
        scale = {"fov": round(made.camera.fov, 2), "metric": made.metric}
        console.emit({"ok": True, "folder": made.folder, "files": files, **scale})
