"""Sets of clips by name, loaded on access: folders of clips, shards, and clips derived from others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from idol.clip import Clip
from idol.errors import UserError

SINGLE_CLIP = "clip"
"""Name of the only clip of a set that was opened from a single clip's folder."""


def open_clips(folder: str | Path) -> Mapping[str, Clip]:
    """Open the clips of a folder by name: shards if it has a manifest, folders of clips otherwise.

    Raises:
        UserError: If there is no such folder, or no clip in it.
    """
    from idol.data.shards import MANIFEST

    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(str(folder), "no such folder", "give a folder of clips or shards")
    return ClipShards(folder) if (folder / MANIFEST).is_file() else ClipFolders(folder)


def check_names(sets: Mapping[str, Mapping[str, Clip]]) -> tuple[str, ...]:
    """Return the clip names of the first set, after checking that every other set has them too.

    Raises:
        UserError: If a set lacks a clip of the first.
    """
    names = tuple(next(iter(sets.values())))
    for title, clips in sets.items():
        missing = [name for name in names if name not in clips]
        if missing and SINGLE_CLIP in (*names, *clips):
            found = "some sets are a single clip's folder and others hold several clips"
            raise UserError(
                title, found, "give one clip's folder for each set, or a folder of clips for each"
            )
        if missing:
            found = f"{len(missing)} of {len(names)} clips are missing, {missing[0]!r} first"
            raise UserError(title, found, "give a set that has clips of all these names")
    return names


class ClipFolders(Mapping[str, Clip]):
    """The clips in the subfolders of a folder, by folder name.

    Args:
        folder: Holds one folder per clip; or is itself a clip's folder, whose clip is named `SINGLE_CLIP`.

    Raises:
        UserError: If there is no clip.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = [folder] if (folder / "clip.json").is_file() else sorted(folder.glob("[!.]*/"))
        self.paths = {p.name: p for p in found if (p / "clip.json").is_file()}
        if found == [folder]:
            self.paths = {SINGLE_CLIP: folder}
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


class ClipShards(Mapping[str, Clip]):
    """The clips of a folder of shards, by key.

    Args:
        folder: Holds finished shards and their manifest.

    Raises:
        UserError: If it does not.
    """

    def __init__(self, folder: Path) -> None:
        from idol.data.shards import ShardReader

        self.reader = ShardReader(folder)
        self.indices = {self.reader.entry(i).key: i for i in range(len(self.reader))}

    def __getitem__(self, name: str) -> Clip:
        return self.reader[self.indices[name]]

    def __contains__(self, name: object) -> bool:
        return name in self.indices  # Mapping's own would load the clip

    def __iter__(self) -> Iterator[str]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class DerivedClips(Mapping[str, Clip]):
    """Clips that are computed from the clips of another set on access.

    Args:
        source: The clips to start from.
        transform: Makes the derived clip.
    """

    def __init__(self, source: Mapping[str, Clip], transform: Callable[[Clip], Clip]) -> None:
        self.source, self.transform = source, transform

    def __getitem__(self, name: str) -> Clip:
        return self.transform(self.source[name])

    def __contains__(self, name: object) -> bool:
        return name in self.source

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)
