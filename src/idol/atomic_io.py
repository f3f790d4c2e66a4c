"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idol.errors import UserError


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that a verb writes, and may replace.

    Attributes:
        name: For people: "a run folder".
        mark: The file by which one is known.
    """

    name: str
    mark: str


def check_destination(out: Path, overwrite: bool, kind: FolderKind) -> None:
    """Refuse a place that a folder cannot be put at, before any work is done.

    Raises:
        UserError: If `out` holds something: always when that is none of the kind, else unless `overwrite`.
    """
    try:
        if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
            return
        replaceable = (out / kind.mark).is_file()
    except OSError as error:
        raise UserError("-o", f"{out} cannot be read ({error.strerror})", "choose another folder") from error
    if not replaceable:
        raise UserError("-o", f"{out} exists and is not {kind.name}", "choose another folder")
    if not overwrite:
        raise UserError("-o", f"{out} exists", "choose another folder, or add --overwrite")


@contextmanager
def staged_folder(out: Path, overwrite: bool, kind: FolderKind) -> Iterator[Path]:
    """A new folder beside `out`, put in its place when the block ends well and removed when it does not.

    Raises:
        UserError: As `check_destination`, and if nothing can be made beside `out`.
    """
    check_destination(out, overwrite, kind)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError("-o", f"{out} cannot be made ({error.strerror})", "choose another folder") from error
    try:
        staging.chmod(0o755)  # mkdtemp makes it private
        (staging / "new").mkdir()
        yield staging / "new"
        _replace(out, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_file(path: Path, argument: str = "-o") -> None:
    """Refuse a place that a file cannot be put at, before any work is done.

    Args:
        path: The file.
        argument: What the user named it, or its folder, by.

    Raises:
        UserError: If it is a folder, or nothing can be written there.
    """
    if path.is_dir():
        raise UserError(argument, f"{path} is a folder", "give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        found = f"{path} cannot be written ({error.strerror})"
        raise UserError(argument, found, "choose another place") from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    """A JSON file, in a folder that is made if need be.

    Raises:
        UserError: As `check_file`.
    """
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """A text file, as `write_json`.

    Raises:
        UserError: As `check_file`.
    """
    check_file(path)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _replace(out: Path, staging: Path) -> None:
    if os.path.lexists(out):
        out.rename(staging / "old")
    try:
        (staging / "new").rename(out)
    except BaseException:  # Ctrl-C too: the old folder must not go down with the staging one
        if os.path.lexists(staging / "old"):
            (staging / "old").rename(out)
        raise
