"""The command line's root: the program itself, and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idol.cli.option_names import Program

program = typer.Typer(
    name="idol",
    cls=Program,
    help="A video of a person and its depth, from one photo, a background and a motion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Also print one line of JSON on stdout.")]
Watermark = Annotated[
    bool | None,
    typer.Option("--watermark/--no-watermark", help="Mark the frames, invisibly.  [default: on]"),
]
Certificate = Annotated[
    Path | None, typer.Option(help="PEM chain that signs the files.  [default: one of this machine's]")
]
PrivateKey = Annotated[Path | None, typer.Option(help="PEM of the certificate's key.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run folder if it is there.")]


def _version(wanted: bool) -> None:
    if wanted:
        from idol import __version__

        print(__version__)
        raise typer.Exit


@program.callback()
def _idol(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
