"""The command that serves the web page: `app`."""

from __future__ import annotations

from typing import Annotated

import typer

import idol
from idol import console
from idol.cli.root import Certificate, Json, PrivateKey, arguments, program


@program.command()
def app(
    weights: Annotated[str, typer.Option(help="The checkpoint: mini, a folder, or a hub id.")] = "mini",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 also serves other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 7860,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="a GPU if there is one"),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    as_json: Json = False,
) -> None:
    """Serve the web page.

    On it, visitors upload a photo, choose a motion and look at the result from all sides.
    """
    given = arguments(locals())

    def ready(address: str) -> None:
        console.say(f"the page is at {address}; Ctrl-C ends it")
        if as_json:
            console.emit({"ok": True, "url": address})

    idol.app(**given, ready=ready)
