"""The command that checks where files come from: `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import idol
from idol import console
from idol.cli.root import Json, program


@program.command()
def verify(
    path: Annotated[
        list[Path],
        typer.Argument(help="Images, videos, files with a .c2pa beside them, folders of runs or clips."),
    ],
    trust: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of authorities: signers certified by them are trusted.", show_default="nobody"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for the watermark and content credentials in files."""
    reports = [idol.verify(one, trust) for one in path]
    for report in reports:
        for file in report.files:
            console.say("\n  ".join((str(file.path), *file.sentences())))
    if as_json:
        console.emit({"ok": True, "reports": [report.to_json() for report in reports]})
