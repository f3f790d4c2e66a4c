"""The verb that shows: `view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idol import console
from idol.cli.root import Certificate, Json, PrivateKey, Watermark, program


@program.command()
def view(
    clip: Annotated[Path, typer.Argument(help="The folder of a clip: what `idol generate` writes.")],
    viewer: Annotated[
        str, typer.Option("--with", help="viser: in the browser; rerun: in a window of its own.")
    ] = "viser",
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets others in.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="[default: 8080 of viser, 9876 of rerun]")] = None,
    save: Annotated[
        Path | None, typer.Option(help="With rerun: write FILE.rrd instead of opening a window.")
    ] = None,
    fov: Annotated[
        float | None, typer.Option(help="Vertical field of view in degrees.  [default: from the clip]")
    ] = None,
    person_height: Annotated[
        float, typer.Option(help="Meters; the scale where the clip's distances are not known.")
    ] = 1.7,
    watermark: Watermark = None,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    as_json: Json = False,
) -> None:
    """A clip in 3-D, to walk round in; Ctrl-C ends it."""
    from idol.provenance import provenance_of
    from idol.rendering.viewers import view

    def ready(url: str) -> None:
        console.say(f"open {url}, Ctrl-C ends")
        if as_json:
            console.emit({"ok": True, "url": url})

    view(
        clip,
        viewer,  # type: ignore[arg-type]  # checked there
        host=host,
        port=port,
        save=save,
        fov=fov,
        person_height=person_height,
        provenance=provenance_of(watermark is not False, certificate, private_key),
        ready=ready,
    )
    if save is not None:
        console.say(f"recording {save}")
        if as_json:
            console.emit({"ok": True, "recording": save})
