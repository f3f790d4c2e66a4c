"""The root of the command line: the program, shared options, and how a command calls its function."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from idol import console
from idol.cli.option_names import Program, note_in_options
from idol.errors import UserError

program = typer.Typer(
    name="idol",
    cls=Program,
    help="Generate a video of a person and its depth from one photo, a background and a motion.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: boxes cut long options, and take [...] for markup
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Also print the result as one line of JSON on stdout.")]
Watermark = Annotated[
    bool, typer.Option("--watermark/--no-watermark", help="Embed the invisible watermark in the frames.")
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        help="PEM file of the certificate chain that signs the files.", show_default="this machine's own"
    ),
]
PrivateKey = Annotated[Path | None, typer.Option(help="PEM file of the certificate's private key.")]
Steps = Annotated[
    int | None,
    typer.Option(
        "--num-inference-steps",
        "--steps",
        help="Number of denoising steps.",
        show_default="the checkpoint's own",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the initial noise.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run folder if it exists.")]
Fov = Annotated[
    float | None,
    typer.Option(help="Vertical field of view of the clip, degrees.", show_default="estimated, or 35"),
]
PersonHeight = Annotated[
    float, typer.Option(help="Height of the person, meters: the scale of clips without known distances.")
]


def arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a command as arguments of the function of `idol` of the same name.

    Args:
        parameters: `locals()` at the start of the command; --json is the command line's alone, and what is
            None is left to the function's default.
    """
    return {name: value for name, value in parameters.items() if value is not None and name != "as_json"}


def show_progress(stage: str | None = None) -> AbstractContextManager[console.ConsoleProgress]:
    """Show progress while the block runs, with options in place of Python arguments in its notes.

    Args:
        stage: Begin this stage at once.
    """
    return console.show_progress(stage, note_in_options)


def named_folders(argument: str, texts: list[str] | None) -> dict[str, Path]:
    """Parse NAME=FOLDER options.

    Args:
        argument: The parameter that holds them, for errors.
        texts: The options as they were given.

    Raises:
        UserError: If one is written differently, or a name occurs twice.
    """
    named: dict[str, Path] = {}
    for text in texts or []:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UserError(argument, text, "write NAME=FOLDER")
        if name in named:
            raise UserError(argument, f"the name {name} occurs twice", "give each folder a different name")
        named[name] = Path(folder)
    return named


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
