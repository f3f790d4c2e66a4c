"""Verbs that check what others made: `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idol import console
from idol.cli.root import Json, program


@program.command()
def verify(
    files: Annotated[
        list[Path], typer.Argument(help="Images, videos, files with a .c2pa beside them, run folders.")
    ],
    trust: Annotated[
        Path | None, typer.Option(help="PEM of authorities whose signers are trusted.  [default: nobody]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Was it made by a machine? The watermark in the pixels, and the signed content credentials."""
    from idol.provenance import verify

    reports = [verify(file, trust) for file in files]
    for report in reports:
        for file in report.files:
            console.say("\n  ".join((str(file.path), *file.sentences())))
    if as_json:
        console.emit({"ok": True, "reports": [report.to_json() for report in reports]})
