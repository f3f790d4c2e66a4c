"""Python arguments in errors and notes become the options of the command that runs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from typer.core import TyperGroup

from idol.errors import UserError, replace_references

# Newer typer brings a click of its own, so nothing here names click's classes.
_ORDER = "demo generate repeat view render app verify synth train evaluate import benchmark reproduce".split()
_running: ContextVar[Any] = ContextVar("command that runs", default=None)


class Program(TyperGroup):
    """The group of all commands; errors of a command name its options."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order of `--help`: what most people want comes first."""
        return sorted(super().list_commands(ctx), key=_ORDER.index)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was asked for, and remember it for its errors and notes.

        Args:
            ctx: click's context.
            args: The words of the command line from the command's name on.
        """
        name, command, rest = super().resolve_command(ctx, args)
        _running.set(command)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for.

        Raises:
            UserError: As the command, in terms of its options.
        """
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise in_options(error, _running.get()) from error


def in_options(error: UserError, command: Any) -> UserError:
    """Return an error that names options in place of Python arguments.

    Args:
        error: As the library raised it.
        command: The click command whose parameters are named.
    """
    write = option_writer(command)
    named = error.argument in {param.name for param in command.params}
    argument = write(error.argument, None) if named else error.argument
    return UserError(
        argument, replace_references(error.found, write), replace_references(error.remedy, write)
    )


def option_writer(command: Any) -> Callable[[str, str | None], str]:
    """Return a function that writes an argument (name, value or None) as an option of a click command."""
    params = {param.name: param for param in command.params}

    def option(name: str, value: str | None) -> str:
        param = params.get(name)
        if param is None:
            return name if value is None else f"{name}={value}"
        if param.param_type_name == "argument":
            return value or param.name.upper()
        if value == "False" and param.secondary_opts:
            return str(param.secondary_opts[0])
        return str(param.opts[0]) if value in (None, "True") else f"{param.opts[0]} {value}"

    return option


def note_in_options(text: str) -> str:
    """Return a note with options of the running command in place of Python arguments."""
    return replace_references(text, option_writer(_running.get()))
