"""Output of the command line: text on stderr, JSON on stdout, errors in one line."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from idol.errors import UserError
from idol.progress import ProgressCallback

if TYPE_CHECKING:
    from rich.table import Table

DONE, BUG, USER_ERROR, INTERRUPTED = 0, 1, 2, 130

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
# By name, since importing their libraries takes seconds.
_NETWORK = {
    "ConnectionError",
    "ConnectError",
    "ConnectTimeout",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
}


def exit_code(work: Callable[[], Any], as_json: bool) -> int:
    """Run a command; return its exit code, after one line on stderr if it failed.

    Args:
        work: Runs the command; returns None or an exit code.
        as_json: Also print a failure as one line of JSON on stdout.
    """
    try:
        code = work()
        if code == INTERRUPTED:  # typer caught Ctrl-C itself
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED, as_json)
    except Exception as error:
        if type(error).__name__ == "Abort":  # how older versions of typer report Ctrl-C
            return _failed("interrupted", INTERRUPTED, as_json)
        line = user_mistake(error)
        if line is not None:
            return _failed(line, USER_ERROR, as_json)
        traceback.print_exc(file=sys.stderr)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return _failed(f"{line}; this is a bug of idol, please report it", BUG, as_json)


def user_mistake(error: BaseException) -> str | None:
    """Return the line to show for an error that the user can correct, or None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if hasattr(error, "format_message"):  # an error of typer: unknown option, missing argument, not a number
        return " ".join(f"{error.format_message()} See --help.".split())
    for cause in _causes(error):
        found = _from_outside(cause)
        if found is not None:
            return str(found)
    return None


def _from_outside(error: BaseException) -> UserError | None:
    """Return an error of the machine (disk, path, network, memory) as one that the user can correct."""
    code = getattr(error, "errno", None) if isinstance(error, OSError) else None
    path = str(getattr(error, "filename", None) or "output")
    if code in _DISK or "No space left on device" in str(error):
        return UserError(path, "the disk is full", "free some space, or choose another folder")
    if code in _PATH:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return UserError(path, f"cannot be used ({reason})", "choose another location")
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NETWORK and not isinstance(error, BrokenPipeError):
        return UserError(
            "network", f"cannot be reached ({error})", "connect, or name a folder on this machine"
        )
    if names & {"OutOfMemoryError", "MemoryError"}:
        return UserError("memory", "there is not enough", "ask for fewer frames or a smaller size")
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _failed(line: str, code: int, as_json: bool) -> int:
    print(f"error: {line}", file=sys.stderr)
    if as_json:
        emit({"ok": False, "exit_code": code, "error": line})
    return code


def say(text: str) -> None:
    """Print one line on stderr."""
    print(text, file=sys.stderr)


def emit(values: dict[str, Any]) -> None:
    """Print one line of JSON on stdout."""
    print(json.dumps(values, default=str), flush=True)


class ConsoleProgress(ProgressCallback):
    """Shows progress on stderr: stages and notes as lines, steps as a bar with the time left.

    Args:
        progress: The bars.
        words: Rewrites a note before it is printed.
    """

    def __init__(self, progress: Progress, words: Callable[[str], str] = str) -> None:
        self._progress, self._words = progress, words
        self._task: TaskID | None = None
        self._stage = ""

    def stage(self, name: str) -> None:
        """Print the stage's name on a line."""
        self._progress.console.print(name, highlight=False, markup=False)
        self._task, self._stage = None, name.partition(" ")[0]

    def note(self, text: str) -> None:
        """Print the note on a line."""
        line = f"note: {self._words(text)}"
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def step(self, done: int, total: int) -> None:
        """Move the stage's bar; see `ProgressCallback.step`."""
        if self._task is None:
            self._task = self._progress.add_task(self._stage, total=total)
        self._progress.update(self._task, completed=done)


@contextmanager
def show_progress(stage: str | None = None, words: Callable[[str], str] = str) -> Iterator[ConsoleProgress]:
    """Show progress on stderr while the block runs: bars on a terminal only, lines always.

    Args:
        stage: Begin this stage at once.
        words: Rewrites a note before it is printed.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        progress = ConsoleProgress(bars, words)
        if stage is not None:
            progress.stage(stage)
        yield progress


def show(*tables: Table) -> None:
    """Print tables on stderr, 150 columns wide where it is no terminal."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    for table in tables:
        console.print(table)
