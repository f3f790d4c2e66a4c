"""The verb that serves the web page: `app`."""

from __future__ import annotations

from typing import Annotated

import typer

from idol import console
from idol.cli.root import Certificate, Json, PrivateKey, program


@program.command()
def app(
    weights: Annotated[str, typer.Option(help="mini, a folder, or a hub id.")] = "mini",
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 7860,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    as_json: Json = False,
) -> None:
    """The web page: upload a photo, choose a motion, look round the result."""
    import idol.app
    from idol.provenance import provenance_of

    provenance = provenance_of(True, certificate, private_key)

    def ready(address: str) -> None:
        console.say(f"the page is at {address}, Ctrl-C ends it")
        if as_json:
            console.emit({"ok": True, "url": address})

    idol.app.app(
        weights,
        host=host,
        port=port,
        device=device,
        browser=browser,
        provenance=provenance,
        ready=ready,
    )
