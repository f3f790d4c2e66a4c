"""Features of a row's clips for the distribution metrics, cached on disk because tables share rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from idol.atomic_io import atomic_file
from idol.clip import Clip
from idol.evaluation.feature_extraction import FeatureExtractor
from idol.progress import SILENT, ProgressCallback

Features = list[dict[str, np.ndarray]]
"""For each clip, features (n, d) by name; see `idol.evaluation.feature_extraction.FeatureExtractor`."""


def cached_features(
    clips: Mapping[str, Clip],
    names: tuple[str, ...],
    extractor: FeatureExtractor,
    folder: Path | None,
    progress: ProgressCallback = SILENT,
) -> Features:
    """Return the features of the named clips, from `folder` if they are cached there.

    Args:
        clips: A set of clips.
        names: The names of the clips, in order.
        extractor: Networks that compute the features.
        folder: Receives a cache file named by a hash of names and networks. Its clips must never change.
            None: nothing is cached, for clips that others may change.
        progress: Receives one step per clip.
    """
    text = repr((names, sorted(extractor.weights.items()), extractor.stride))
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    file = None if folder is None else folder / f"features-{digest}.npz"
    if file is not None and file.exists():
        return _load(file, len(names))
    features = []
    for done, name in enumerate(names, 1):
        features.append(extractor.extract(clips[name].video))
        progress.step(done, len(names))
    if file is not None:
        _save(file, features)
    return features


def _save(file: Path, features: Features) -> None:
    arrays = {
        f"{index}/{name}": array
        for index, features_of_clip in enumerate(features)
        for name, array in features_of_clip.items()
    }
    with atomic_file(file) as new:
        np.savez(new, **arrays)  # type: ignore[arg-type]  # names are the keys


def _load(file: Path, clips: int) -> Features:
    features: Features = [{} for _ in range(clips)]
    with np.load(file) as arrays:
        for key in arrays.files:
            index, _, name = key.partition("/")
            features[int(index)][name] = arrays[key]
    return features
