"""Checksummed WebDataset shards of clips.

A shard is one tar file; a sample in it is one clip, its files named ``<key>.<part>``: ``frames/00000.jpg`` of
the clip's folder form becomes ``<key>.frames.00000.jpg`` (a WebDataset extension cannot hold a slash).
Beside each tar lies its index (``00000.json``); `ShardWriter.finalize` merges the indices into
``manifest.json``, which is all a reader needs for random access.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from idol.assets import sha256_of
from idol.atomic_io import atomic_file, write_bytes
from idol.clip import Clip
from idol.clip.clip import clip_from_files, clip_to_files
from idol.errors import UserError

VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SampleEntry:
    """Location of one clip in its shard, with the metadata that is available without decoding it.

    Attributes:
        key: WebDataset key, shard and position as ten digits.
        subject: Identity of the person; empty if unknown.
        frames: Number of frames.
        height: Frame height, pixels.
        width: Frame width, pixels.
        files: File name in the clip's folder form -> (byte offset in the tar, size in bytes).
    """

    key: str
    subject: str
    frames: int
    height: int
    width: int
    files: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class ShardEntry:
    """One tar file of a shard folder.

    Attributes:
        name: File name.
        bytes: File size, bytes.
        sha256: Checksum, hexadecimal.
        samples: Its clips, in order.
    """

    name: str
    bytes: int
    sha256: str
    samples: tuple[SampleEntry, ...]


class ShardWriter:
    """Writer of clips into tar shards; several processes may write distinct shard indices at once.

    Args:
        folder: Folder of the shards; created if missing.
        samples_per_shard: Clips per tar when `write` fills shards one after the other.
        image: Encoding of the frames.
        quality: JPEG quality, 1 to 100.

    Raises:
        ValueError: If `samples_per_shard` is less than 1.
    """

    def __init__(
        self,
        folder: Path | str,
        samples_per_shard: int = 64,
        image: Literal["jpeg", "png"] = "jpeg",
        quality: int = 95,
    ) -> None:
        if samples_per_shard < 1:
            raise ValueError(f"samples_per_shard must be at least 1, got {samples_per_shard}")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.samples_per_shard = samples_per_shard
        self.image: Literal["jpeg", "png"] = image
        self.quality = quality

    def is_complete(self, index: int) -> bool:
        """Return whether shard `index` was written completely (its index file appears last)."""
        record = self._index_path(index)
        if not record.exists():
            return False
        tar = self._tar_path(index)
        return tar.exists() and tar.stat().st_size == _read_shard(record).bytes

    def write_shard(self, index: int, clips: Iterable[Clip]) -> ShardEntry:
        """Write one complete shard, or return the entry of a shard that is already complete.

        Args:
            index: Number of the shard; its file is ``{index:05d}.tar``.
            clips: Clips of the shard, in order; not consumed when the shard is already complete.

        Returns:
            The shard's entry.
        """
        if self.is_complete(index):
            return _read_shard(self._index_path(index))
        tar = self._tar_path(index)
        with atomic_file(tar) as new:
            samples = self._write_tar(new, index, clips)
            entry = ShardEntry(tar.name, new.stat().st_size, sha256_of(new), samples)
        write_bytes(self._index_path(index), json.dumps(asdict(entry)).encode())
        return entry

    def write(self, clips: Iterable[Clip]) -> list[ShardEntry]:
        """Write clips into consecutive shards, starting at 0, then write the manifest."""
        pending: list[Clip] = []
        index = 0
        for clip in clips:
            pending.append(clip)
            if len(pending) == self.samples_per_shard:
                self.write_shard(index, pending)
                pending, index = [], index + 1
        if pending:
            self.write_shard(index, pending)
        return self.finalize()

    def finalize(self) -> list[ShardEntry]:
        """Merge the indices of all shards into the manifest; may be called again after adding shards."""
        shards = [_read_shard(path) for path in sorted(self.folder.glob("[0-9]*.json"))]
        manifest = {"version": VERSION, "shards": [asdict(shard) for shard in shards]}
        write_bytes(self.folder / MANIFEST, json.dumps(manifest).encode())
        return shards

    def _write_tar(self, path: Path, index: int, clips: Iterable[Clip]) -> tuple[SampleEntry, ...]:
        samples = []
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for position, clip in enumerate(clips):
                key = f"{index:05d}{position:05d}"
                files = clip_to_files(clip, image=self.image, quality=self.quality)
                offsets = {
                    name: _add_member(tar, f"{key}.{_to_part(name)}", data) for name, data in files.items()
                }
                samples.append(SampleEntry(key, clip.subject, clip.frames, clip.height, clip.width, offsets))
        return tuple(samples)

    def _tar_path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.tar"

    def _index_path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.json"


class ShardReader:
    """Random access to the clips of a shard folder by the byte offsets in its manifest.

    Picklable, and safe to use from several processes: files are opened on first use and read by position.

    Args:
        folder: A folder that `ShardWriter.finalize` completed.

    Attributes:
        shards: Entries of the tar files.
        positions: (shard, position in the shard) of each clip.

    Raises:
        UserError: If the manifest is missing or unreadable, or a shard is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.shards = read_manifest(self.folder)
        self.positions = [(s, n) for s, shard in enumerate(self.shards) for n in range(len(shard.samples))]
        self._handles: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Clip:
        """Decode the clip at `index`."""
        return clip_from_files(self.files(index))

    def frames(self, index: int, frames: Sequence[int]) -> Clip:
        """Decode some frames of a clip.

        Args:
            index: Index of the clip.
            frames: Indices of the frames, in any order; the other frames are not decoded.
        """
        return clip_from_files(self.files(index), frames)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_handles": {}}  # open files cannot be sent to worker processes

    def __del__(self) -> None:
        for handle in getattr(self, "_handles", {}).values():
            os.close(handle)

    def entry(self, index: int) -> SampleEntry:
        """Return the manifest's entry of the clip at `index`."""
        shard, sample = self.positions[index]
        return self.shards[shard].samples[sample]

    def files(self, index: int) -> dict[str, bytes]:
        """Return the encoded files of the clip at `index`, by their names in the clip's folder form."""
        handle = self._open(self.shards[self.positions[index][0]].name)
        # pread has no file position, which forked processes would share
        return {
            name: os.pread(handle, size, offset) for name, (offset, size) in self.entry(index).files.items()
        }

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises:
            UserError: If a shard differs from what was written.
        """
        for shard in self.shards:
            found = sha256_of(self.folder / shard.name)
            if found != shard.sha256:
                found = f"its SHA-256 is {found[:12]}..., the manifest has {shard.sha256[:12]}..."
                raise UserError(str(self.folder / shard.name), found, "write the shard again")

    def _open(self, name: str) -> int:
        if name not in self._handles:
            self._handles[name] = os.open(self.folder / name, os.O_RDONLY)
        return self._handles[name]


def read_manifest(folder: Path) -> tuple[ShardEntry, ...]:
    """Read the manifest of a shard folder.

    Raises:
        UserError: If the manifest is missing, unreadable or of another version, or a tar file is missing
            or truncated.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise UserError(str(folder), f"no {MANIFEST}", "give a folder of complete shards")
    try:
        manifest = json.loads(path.read_text())
        version, shards = manifest["version"], tuple(_shard_from(raw) for raw in manifest["shards"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(str(path), f"an unreadable manifest ({error})", "write the shards again") from error
    if version != VERSION:
        raise UserError(str(path), f"manifest version {version}", f"this program reads version {VERSION}")
    for shard in shards:
        tar = folder / shard.name
        size = tar.stat().st_size if tar.exists() else None
        if size != shard.bytes:
            found = "no such file" if size is None else f"{size} bytes where the manifest says {shard.bytes}"
            raise UserError(str(tar), found, "write the shard again")
    return shards


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    """Append a file and return its (offset, size).

    Owner and time stay at their defaults, so that equal clips give equal tars.
    """
    info = tarfile.TarInfo(name)
    info.size = len(data)
    start = tar.offset + tarfile.BLOCKSIZE  # a USTAR header is one block
    tar.addfile(info, io.BytesIO(data))
    return start, len(data)


def _to_part(name: str) -> str:
    part = name.replace("/", ".")
    if part.count(".") > 2 or part != part.lower():
        raise ValueError(f"file name {name!r} cannot be represented as a WebDataset extension")
    return part


def _read_shard(path: Path) -> ShardEntry:
    return _shard_from(json.loads(path.read_text()))


def _shard_from(raw: dict) -> ShardEntry:
    samples = tuple(
        SampleEntry(**{**sample, "files": {name: (at, size) for name, (at, size) in sample["files"].items()}})
        for sample in raw["samples"]
    )
    return ShardEntry(raw["name"], raw["bytes"], raw["sha256"], samples)
