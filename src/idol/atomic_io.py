"""Files and folders that appear complete or not at all: written beside their destination, then renamed."""

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
    """A kind of folder that a command writes, and may replace.

    Attributes:
        name: For messages: "a run folder".
        mark: Name of the file that identifies such a folder.
    """

    name: str
    mark: str


def check_destination(out: Path, overwrite: bool, kind: FolderKind) -> None:
    """Refuse a destination that a folder cannot be written to, before any work is done.

    Args:
        out: Path of the folder.
        overwrite: Whether a folder of this kind may be replaced. Anything else never is.
        kind: The kind of folder that will be written.

    Raises:
        UserError: If `out` holds something that may not be replaced, or cannot be read.
    """
    try:
        if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
            return
        replaceable = (out / kind.mark).is_file()
    except OSError as error:
        raise UserError("out", f"{out} cannot be read ({error.strerror})", "choose another folder") from error
    if not replaceable:
        raise UserError("out", f"{out} exists and is not {kind.name}", "choose another folder")
    if not overwrite:
        raise UserError("out", f"{out} exists", "choose another folder, or pass `overwrite=True`")


@contextmanager
def staged_folder(out: Path, overwrite: bool, kind: FolderKind | None) -> Iterator[Path]:
    """Yield a new folder beside `out`; it replaces `out` when the block succeeds and is removed otherwise.

    Args:
        out: Path of the finished folder; parents are made.
        overwrite: As `check_destination`.
        kind: As `check_destination`; None replaces whatever is there.

    Raises:
        UserError: As `check_destination`, and if no folder can be made beside `out`.
    """
    if kind is not None:
        check_destination(out, overwrite, kind)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError("out", f"{out} cannot be made ({error.strerror})", "choose another folder") from error
    try:
        (staging / "new").mkdir()  # with the usual permissions, where mkdtemp's folder is private
        yield staging / "new"
        _replace(out, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def atomic_file(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield the path of a new file beside `path`; it replaces `path` when the block succeeds.

    Args:
        path: Path of the finished file. The new file has the same suffix, which many writers go by.
        private: Create the file readable by the user alone.

    Raises:
        OSError: If the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as scratch:
        new = Path(scratch, path.name)
        if private:
            new.touch(mode=0o600)
        yield new
        new.replace(path)


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file atomically.

    Args:
        path: The file; its folder exists.
        data: All of its content.
        private: As `atomic_file`.

    Raises:
        OSError: If the file cannot be written.
    """
    with atomic_file(path, private=private) as new:
        new.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, in a folder that is made if missing.

    Args:
        path: The file.
        text: All of its content.

    Raises:
        UserError: As `check_file`.
    """
    check_file(path)
    write_bytes(path, text.encode())


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically, in a folder that is made if missing.

    Args:
        path: The file.
        values: What JSON can hold.

    Raises:
        UserError: As `check_file`.
    """
    write_text(path, json.dumps(values, indent=2) + "\n")


def check_file(path: Path, argument: str = "out") -> None:
    """Refuse a destination that a file cannot be written to, before any work is done.

    Args:
        path: The file.
        argument: Name of the argument that gave it, or its folder.

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
        raise UserError(argument, found, "choose another location") from error


def _replace(out: Path, staging: Path) -> None:
    """Rename the new folder to `out`, after an old one was moved aside: a rename replaces no full folder."""
    if os.path.lexists(out):
        out.rename(staging / "old")
    try:
        (staging / "new").rename(out)
    except BaseException:  # Ctrl-C too: the old folder must not go down with the staging one
        if os.path.lexists(staging / "old"):
            (staging / "old").rename(out)
        raise
