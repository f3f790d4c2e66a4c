"""Splits of the synthetic data: no two share people or motions."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal, get_args

import numpy as np

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# Recordings of the same take, or parts of one, are in the same split.
MOTION_SPLITS: dict[str, Split] = {
    "humanoid3d_dance_b": "test",
    "humanoid3d_kick": "test",
    "humanoid3d_run": "test",
    "humanoid_run": "test",
    "humanoid3d_jog": "test",
    "humanoid3d_dance_spin": "test",
    "131_02": "test",
    "wave_hello": "test",
    "humanoid3d_dance_a": "val",
    "humanoid3d_punch": "val",
    "humanoid3d_stealthy_walk": "val",
    "dab": "val",
    "humanoid3d_backflip": "train",
    "humanoid3d_cartwheel": "train",
    "humanoid3d_crawl": "train",
    "humanoid3d_getup_facedown": "train",
    "humanoid3d_getup_faceup": "train",
    "humanoid3d_jump": "train",
    "humanoid3d_roll": "train",
    "humanoid3d_spin": "train",
    "humanoid3d_spinkick": "train",
    "humanoid3d_walk": "train",
    "humanoid3d_zombie_walk": "train",
    "humanoid_dance": "train",
    "humanoid_walk": "train",
    "131_01": "train",
    "131_03": "train",
    "jesse_dance": "train",
    "jumping": "train",
    "jumping_jacks": "train",
    "0walk_forward": "train",
    "turn_left0": "train",
    "turn_left1": "train",
    "turn_right0": "train",
    "turn_right1": "train",
}
# Relative sampling frequency where it is not 1: floor acrobatics are rare in real input.
_WEIGHTS = {
    "humanoid_dance": 4.0,
    "jesse_dance": 4.0,
    "humanoid3d_dance_b": 3.0,
    "humanoid3d_dance_spin": 2.0,
    "humanoid3d_dance_a": 3.0,
    "131_01": 2.0,
    "131_02": 2.0,
    "131_03": 2.0,
    "humanoid3d_walk": 1.5,
    "humanoid_walk": 1.5,
    "0walk_forward": 0.5,
    "turn_left0": 0.4,
    "turn_left1": 0.4,
    "turn_right0": 0.4,
    "turn_right1": 0.4,
    "humanoid3d_spinkick": 0.5,
    "humanoid3d_spin": 0.3,
    "humanoid3d_backflip": 0.15,
    "humanoid3d_cartwheel": 0.25,
    "humanoid3d_crawl": 0.15,
    "humanoid3d_getup_facedown": 0.2,
    "humanoid3d_getup_faceup": 0.2,
    "humanoid3d_roll": 0.15,
}
# Files of two collections that hold the same take; found by comparing how their limbs bend.
_COPIES = {"02_01": "walking_1_train"}
_TRIAL, _PIECE = re.compile(r"(\d{2,3})_\d+"), re.compile(r"(.+?)_\d+_(?:train|test)")
_PIECE_WEIGHT = 0.2  # pieces last a few seconds
_ACROBATIC = {
    f"humanoid3d_{n}"
    for n in ("backflip", "cartwheel", "crawl", "getup_facedown", "getup_faceup", "roll", "spin")
}


def split_of_motion(name: str) -> Split:
    """Return the split of a motion: from the table, or else by a hash of its recording's name (8 : 1 : 1)."""
    if name in MOTION_SPLITS:
        return MOTION_SPLITS[name]
    part = hashlib.sha256(recording_of(name).encode()).digest()[0] % 10
    return "val" if part == 8 else "test" if part == 9 else "train"


def recording_of(name: str) -> str:
    """Return what a motion was cut from, which no two splits share.

    The CMU database names files `<subject>_<trial>`: all trials of a subject belong together, for many were
    recorded in one go. Files named `<action>_<number>_train` or `_test` are pieces of few recordings of one
    action. Any other file is a recording of its own; known copies count as what they copy.

    Args:
        name: Name of the motion's file without its ending.
    """
    name = _COPIES.get(name, name)
    for pattern in (_TRIAL, _PIECE):
        if found := pattern.fullmatch(name):
            return found[1]
    return name


def motion_weight(name: str) -> float:
    """Return the relative sampling frequency of a motion."""
    return _WEIGHTS.get(name, _PIECE_WEIGHT if _PIECE.fullmatch(name) else 1.0)


def is_acrobatic(name: str) -> bool:
    """Tell whether a motion leaves the feet for hands, back or air: its limbs do not fit upright motions."""
    return name in _ACROBATIC


def generator(seed: int, split: Split, *numbers: int) -> np.random.Generator:
    """Return a random generator for one (seed, split, ...); two splits never share a stream.

    Args:
        seed: Seed of the set.
        split: The split.
        numbers: Further parts of the key, such as the index of a clip.
    """
    return np.random.default_rng([seed, SPLITS.index(split), *numbers])


def motion_files(folders: list[Path]) -> list[Path]:
    """List the motion files below the folders, sorted by name; of equal names the first folder's counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            known = path.suffix.lower() in (".bvh", ".amc", ".txt", ".npz")
            if known and not path.name.startswith(("laikago", "README")):
                found.setdefault(path.stem, path)
    return [found[name] for name in sorted(found)]
