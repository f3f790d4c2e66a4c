"""What training reads from disk: clips and a frozen autoencoder, identified by checksums."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from idol.assets import sha256_of
from idol.data.shards import MANIFEST, read_manifest
from idol.errors import UserError
from idol.training.initialization import autoencoder_folder


@dataclass(frozen=True)
class TrainingClips:
    """A folder of finished shards that rows are trained on.

    Attributes:
        folder: The folder, as the config names it.
        clips: Number of clips.
        sha256: SHA-256 of its manifest, which holds the shards' checksums.
    """

    folder: Path
    clips: int
    sha256: str


@dataclass(frozen=True)
class MissingInput:
    """An input of a stage that does not exist.

    Attributes:
        path: Where it should be.
        found: What is wrong with it.
        remedy: What to do about it.
    """

    path: str
    found: str
    remedy: str


def training_clips(folder: Path) -> TrainingClips:
    """Return the number of clips and the checksum of a folder of shards, from its manifest.

    Raises:
        UserError: If the folder does not hold finished shards, or a shard is missing or truncated.
    """
    clips = sum(len(shard.samples) for shard in read_manifest(folder))
    return TrainingClips(folder, clips, sha256_of(folder / MANIFEST))


def clips_sha256(folder: Path) -> str | None:
    """Return the SHA-256 of a shard folder's manifest; None if there is none."""
    manifest = folder / MANIFEST
    return _sha256(manifest) if manifest.is_file() else None


def autoencoder_sha256(path: str) -> str | None:
    """Return a SHA-256 over the weight files of an autoencoder on this machine; None if there are none.

    Args:
        path: As `AutoencoderSource.path`.
    """
    named = Path(autoencoder_folder(path))
    folder = named / "vae" if (named / "vae").is_dir() else named
    files = [f for ending in ("safetensors", "bin") for f in sorted(folder.glob(f"*.{ending}"))]
    return hashlib.sha256("".join(map(_sha256, files)).encode()).hexdigest() if files else None


def missing_clips(folders: Iterable[Path]) -> tuple[MissingInput, ...]:
    """Return those of the shard folders that do not exist or are not finished."""
    remedy = "draw it with `idol synth`, as the comments of the scale's file say"
    return tuple(MissingInput(str(f), "not drawn yet", remedy) for f in folders if clips_sha256(f) is None)


def check_nothing_missing(missing: Iterable[MissingInput]) -> None:
    """Check that nothing is missing.

    Raises:
        UserError: For the first missing input.
    """
    for missing_input in missing:
        raise UserError(missing_input.path, missing_input.found, missing_input.remedy)


def _sha256(file: Path) -> str:
    state = file.stat()
    return _sha256_as_of(file.resolve(), state.st_size, state.st_mtime_ns)


@functools.cache
def _sha256_as_of(file: Path, _size: int, _changed: int) -> str:
    """Return a file's checksum, computed once for many stages that read the same large files."""
    return sha256_of(file)
