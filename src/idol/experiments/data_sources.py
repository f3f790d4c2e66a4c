"""What training reads from the disk: clips and a frozen autoencoder, known by their checksums."""

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
        folder: As the config names it.
        clips: How many it holds.
        sha256: Of its manifest, which holds the shards' checksums.
    """

    folder: Path
    clips: int
    sha256: str


@dataclass(frozen=True)
class Missing:
    """Something that a stage reads and that is not there.

    Attributes:
        path: Where it should be.
        found: What is to be said of it.
        hint: What to do about it.
    """

    path: str
    found: str
    hint: str


def training_clips(folder: Path) -> TrainingClips:
    """Count the clips of a folder by its manifest.

    Raises:
        UserError: If it is no folder of finished shards, or a shard is missing or cut short.
    """
    clips = sum(len(shard.samples) for shard in read_manifest(folder))
    return TrainingClips(folder, clips, sha256_of(folder / MANIFEST))


def clips_sha256(folder: Path) -> str | None:
    """SHA-256 of a shard folder's manifest; None where there is none."""
    manifest = folder / MANIFEST
    return _sha256(manifest) if manifest.is_file() else None


def autoencoder_sha256(path: str) -> str | None:
    """SHA-256 over the weight files of an autoencoder on this machine; None where there is none.

    Args:
        path: As `AutoencoderSource.path`.
    """
    named = Path(autoencoder_folder(path))
    folder = named / "vae" if (named / "vae").is_dir() else named
    files = [f for ending in ("safetensors", "bin") for f in sorted(folder.glob(f"*.{ending}"))]
    return hashlib.sha256("".join(map(_sha256, files)).encode()).hexdigest() if files else None


def undrawn(folders: Iterable[Path]) -> tuple[Missing, ...]:
    """Those of the shard folders that are not there, or not finished."""
    hint = "draw it with `idol synth`, as the comments of the scale's file say"
    return tuple(Missing(str(f), "not drawn yet", hint) for f in folders if clips_sha256(f) is None)


def check_there(missing: Iterable[Missing]) -> None:
    """Nothing may be missing.

    Raises:
        UserError: For the first that is.
    """
    for one in missing:
        raise UserError(one.path, one.found, one.hint)


def _sha256(file: Path) -> str:
    state = file.stat()
    return _sha256_as_of(file.resolve(), state.st_size, state.st_mtime_ns)


@functools.cache
def _sha256_as_of(file: Path, _size: int, _changed: int) -> str:
    """Many stages read the same large files."""
    return sha256_of(file)
