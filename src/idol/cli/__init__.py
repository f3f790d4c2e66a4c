"""The commands: each calls the function of `idol` of the same name and prints how it went."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from idol import console
from idol.cli import app, evaluate, generate, render, train, verify, view  # noqa: F401
from idol.cli.root import program

__all__ = ["main", "program"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        The exit code: 0 success, 2 an error that the user can correct, 1 a bug, 130 interrupted.
    """
    if not sys.warnoptions:  # these concern developers of libraries, not users
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    command = typer.main.get_command(program)

    def work() -> Any:
        return command.main(words, prog_name="idol", standalone_mode=False)

    return console.exit_code(work, as_json="--json" in words)
