"""What the networks of the set metrics see of a row's clips, kept on disk: many tables ask for the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from idol.clip import Clip
from idol.evaluation.feature_extraction import Networks

Features = list[dict[str, np.ndarray]]
"""Of each clip, (n, d) by name: see `idol.evaluation.feature_extraction.Networks`."""


def kept_features(
    clips: Mapping[str, Clip],
    names: tuple[str, ...],
    networks: Networks,
    folder: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Features of the named clips, from `folder` if they are there.

    Args:
        clips: A set of clips.
        names: Which, in order.
        networks: What looks.
        folder: Belongs to us, and for good to these clips; gets a file whose name tells names and networks.
            None: nothing is kept, as where others may change the clips.
        progress: Told (clips done, clips).
    """
    said = repr((names, sorted(networks.weights.items()), networks.stride))
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    file = None if folder is None else folder / f"features-{digest}.npz"
    if file is not None and file.exists():
        return _load(file, len(names))
    found = []
    for done, name in enumerate(names, 1):
        found.append(networks.look(clips[name].video))
        if progress:
            progress(done, len(names))
    if file is not None:
        _save(file, found)
    return found


def _save(file: Path, features: Features) -> None:
    arrays = {f"{number}/{name}": array for number, of in enumerate(features) for name, array in of.items()}
    fresh = file.with_name(f".{os.getpid()}.npz")
    np.savez(fresh, **arrays)  # type: ignore[arg-type]  # names are the keys
    fresh.replace(file)


def _load(file: Path, clips: int) -> Features:
    found: Features = [{} for _ in range(clips)]
    with np.load(file) as arrays:
        for key in arrays.files:
            number, _, name = key.partition("/")
            found[int(number)][name] = arrays[key]
    return found
