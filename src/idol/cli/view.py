"""The command that shows a clip: `view`."""

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
)


@program.command()
def view(
    clip: Annotated[Path, typer.Argument(help="Folder of a clip, such as `idol generate` writes.")],
    viewer: Annotated[
        str, typer.Option("--with", help="viser: a page in the browser; rerun: a window.")
    ] = "viser",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 also serves other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", show_default="8080 for viser, 9876 for rerun")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write this .rrd file instead of opening a window (rerun only).")
    ] = None,
    fov: Fov = None,
    person_height: PersonHeight = 1.7,
    watermark: Watermark = True,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    as_json: Json = False,
) -> None:
    """Show a clip in 3-D until Ctrl-C."""
    given = arguments(locals())

    def ready(url: str) -> None:
        console.say(f"open {url}; Ctrl-C ends it")
        if as_json:
            console.emit({"ok": True, "url": url})

    idol.view(**given, ready=ready)
    if save is not None:
        console.say(f"recording {save}")
        if as_json:
            console.emit({"ok": True, "recording": save})
