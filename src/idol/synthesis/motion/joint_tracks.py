"""Reader of joint positions: npz files with `positions`, `joints` and `fps`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from idol.body.from_joints import Tracks, from_tracks
from idol.body.motion import Motion
from idol.body.rotations import shortest, trunk_frame

_FPS = 30.0
_SIDED = {
    "hip": "hip",
    "knee": "knee",
    "ankle": "ankle",
    "toe": "toe_base",
    "shoulder": "shoulder",
    "elbow": "elbow",
    "wrist": "wrist",
}
_CALIBRATION = 5.0  # a first step of this many times the 95th percentile of the others is a cut


def read_joint_positions(path: Path) -> Motion:
    """Read joint positions: `positions` (f, j, 3) in meters, Y up, `joints` (j,) names, `fps`.

    Names are those of `left_hip`, `left_knee`, `left_ankle`, `left_toe_base`, `left_shoulder`, `left_elbow`,
    `left_wrist`, their right counterparts, `spine`, `neck` and, if known, `head` and `head_top`, whose
    direction gives the pitch of the head. A first frame in a calibration pose (arms out) is dropped. Hands
    follow the forearms and the head turns with the chest, as positions do not determine these rotations.

    Args:
        path: The npz file.

    Raises:
        ValueError: If joints are missing, or shapes do not match.
        KeyError: If an array is missing.
    """
    with np.load(path, allow_pickle=False) as data:
        positions, names, fps = data["positions"], [str(n) for n in data["joints"]], float(data["fps"])
    if positions.ndim != 3 or positions.shape[1:] != (len(names), 3) or len(positions) < 2 or fps <= 0:
        raise ValueError(f"positions {positions.shape} at {fps} fps, expected (f, {len(names)}, 3)")
    step = max(round(fps / _FPS), 1)
    where = without_calibration(positions.astype(float))[::step]
    return from_tracks(path.stem, fps / step, _tracks(where, names))


def without_calibration(positions: Float[np.ndarray, "f j 3"]) -> Float[np.ndarray, "g j 3"]:
    """Drop the first frame if there is a cut after it.

    Args:
        positions: Joints in meters.

    Returns:
        All frames, or all but the first.
    """
    steps = np.linalg.norm(np.diff(positions - positions[:, :1], axis=0), axis=-1).max(1)
    if len(steps) < 3:
        return positions
    usual = float(np.percentile(steps[1:], 95))
    return positions[1:] if steps[0] > max(_CALIBRATION * usual, 0.1) else positions


def _tracks(where: Float[np.ndarray, "f j 3"], names: list[str]) -> Tracks:
    wanted = {"spine": "spine", "neck": "neck"}
    for side, word in (("L", "left"), ("R", "right")):
        wanted |= {f"{joint}.{side}": f"{word}_{name}" for joint, name in _SIDED.items()}
    missing = sorted(name for name in wanted.values() if name not in names)
    if missing:
        raise ValueError(f"no joints {', '.join(missing)} among {', '.join(names)}")
    points = {joint: where[:, names.index(name)] for joint, name in wanted.items()}
    if not {"head", "head_top"} <= set(names):
        return Tracks(points)
    up = where[:, names.index("head_top")] - where[:, names.index("head")]
    chest = trunk_frame(points["shoulder.L"] - points["shoulder.R"], points["neck"] - points["spine"])
    return Tracks(points, {"head": shortest(chest[..., 1], up) @ chest})
