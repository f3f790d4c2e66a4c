"""Sets of clips by name: what is judged and what it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from idol.clip import Clip
from idol.errors import UserError

ONE = "clip"
"""Name of the only clip of a folder that is a clip's itself."""


def check_names(sets: Mapping[str, Mapping[str, Clip]]) -> tuple[str, ...]:
    """The names of the clips of the first of several sets, which all have them.

    Raises:
        UserError: If one has not.
    """
    names = tuple(next(iter(sets.values())))
    for title, clips in sets.items():
        missing = [name for name in names if name not in clips]
        if missing and ONE in (*names, *clips):
            remedy = "give one clip's folder for each set, or for each a folder that holds clips' folders"
            raise UserError(title, "one set is a single clip's folder, another holds many", remedy)
        if missing:
            found = f"{len(missing)} of {len(names)} clips are missing, {missing[0]!r} first"
            raise UserError(title, found, "give a set that has clips of all these names")
    return names


class ClipFolders(Mapping[str, Clip]):
    """The clips in the folders of a folder, by folder name; read when asked for.

    Args:
        folder: Holds one folder per clip; or is itself a clip's folder, then called `ONE`.

    Raises:
        UserError: If no clip is there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = [folder] if (folder / "clip.json").is_file() else sorted(folder.glob("[!.]*/"))
        self.paths = {p.name: p for p in found if (p / "clip.json").is_file()}
        if found == [folder]:
            self.paths = {ONE: folder}
        if not self.paths:
            raise UserError(str(folder), "no clip in it", "give a folder of clips, or one clip's folder")

    def __getitem__(self, name: str) -> Clip:
        return Clip.load(self.paths[name])

    def __contains__(self, name: object) -> bool:
        return name in self.paths  # Mapping's own would load the clip

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


class Derived(Mapping[str, Clip]):
    """Clips made from other clips when asked for.

    Args:
        source: The clips they are made from.
        make: How.
    """

    def __init__(self, source: Mapping[str, Clip], make: Callable[[Clip], Clip]) -> None:
        self.source, self.make = source, make

    def __getitem__(self, name: str) -> Clip:
        return self.make(self.source[name])

    def __contains__(self, name: object) -> bool:
        return name in self.source

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)
