"""Motions that ship with the package: captured joint rotations, applied to a simple body and projected.

`motions.npz` holds the DeepMimic clips of pybullet, one row per keyframe: duration in seconds, root position
(3), then rotations as quaternions (w, x, y, z) or, for hinges, an angle about z. Bodies face +x, y is up,
lengths are in meters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from idol.clip import Pose
from idol.errors import UserError
from idol.pose.joints import OPENPOSE_18

Array = NDArray[np.float64]

IMAGE_SIZE, FPS = 512, 30.0  # side of the square image in pixels; default frames per second

# Joint, parent, offset from it in meters (pybullet's humanoid.urdf is four times as large), column, hinge?
_BODY: tuple[tuple[str, str, tuple[float, float, float], int, bool], ...] = (
    ("root", "", (0, 0, 0), 4, False),
    ("chest", "root", (0, 0.236, 0), 8, False),
    ("neck", "chest", (0, 0.224, 0), 12, False),
    ("right_hip", "root", (0, 0, 0.085), 16, False),
    ("right_knee", "right_hip", (0, -0.4215, 0), 20, True),
    ("right_ankle", "right_knee", (0, -0.4099, 0), 21, False),
    ("right_shoulder", "chest", (-0.024, 0.2435, 0.183), 25, False),
    ("right_elbow", "right_shoulder", (0, -0.2748, 0), 29, True),
    ("left_hip", "root", (0, 0, -0.085), 30, False),
    ("left_knee", "left_hip", (0, -0.4215, 0), 34, True),
    ("left_ankle", "left_knee", (0, -0.4099, 0), 35, False),
    ("left_shoulder", "chest", (-0.024, 0.2435, -0.183), 39, False),
    ("left_elbow", "left_shoulder", (0, -0.2748, 0), 43, True),
)
# Keypoints of OpenPose that are not joints of this body: the joint that carries them, and their offset.
_POINTS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "right_wrist": ("right_elbow", (0, -0.2589, 0)),
    "left_wrist": ("left_elbow", (0, -0.2589, 0)),
    "nose": ("neck", (0.115, 0.165, 0)),
    "right_eye": ("neck", (0.09, 0.2, 0.034)),
    "left_eye": ("neck", (0.09, 0.2, -0.034)),
    "right_ear": ("neck", (0.0, 0.18, 0.076)),
    "left_ear": ("neck", (0.0, 0.18, -0.076)),
}
# Direction that each face point looks in: the point is hidden when it looks away from the camera.
_LOOKS = {
    "nose": (1, 0, 0),
    "right_eye": (1, 0, 0.6),
    "left_eye": (1, 0, -0.6),
    "right_ear": (0, 0, 1),
    "left_ear": (0, 0, -1),
}


@dataclass(frozen=True)
class MotionCamera:
    """A fixed pinhole camera whose square image contains a whole motion.

    Attributes:
        turn: Degrees between the person's initial heading and the camera; 0 shows the front, 90 the left
            side.
        height: Meters above the ground.
        distance: Smallest distance in meters from the center of the motion.
        margin: Margin around the motion, as a share of the image's side.
    """

    turn: float = 30.0
    height: float = 1.2
    distance: float = 4.0
    margin: float = 0.08


_CAMERAS = {
    name: MotionCamera(turn=turn)
    for name, turn in {
        "walk": 65, "run": 70, "crawl": 55, "roll": 65, "backflip": 60, "jump": 50, "spinkick": 35
    }.items()
}  # fmt: skip
"""Cameras of motions of which the default one would see too little."""


_ONCE = ("kick", "punch", "getup-facedown", "getup-faceup")  # motions that cannot be looped


def names() -> tuple[str, ...]:
    """Return the names of the built-in motions."""
    return tuple(sorted(_clips()))


def builtin_pose(name: str, frames: int | None = None, fps: float = FPS) -> Pose:
    """Return the projection of a built-in motion.

    Args:
        name: One of `names()`.
        frames: Number of frames. A shorter motion is repeated from where it ended, or holds its last pose if
            it cannot be looped. None: the motion once.
        fps: Frames per second.

    Returns:
        18 joints in frames of 512 x 512 pixels.

    Raises:
        UserError: If there is no such motion.
    """
    if name not in _clips():
        raise UserError("motion", f"no built-in motion {name!r}", f"choose one of {', '.join(names())}")
    rows = _clips()[name].astype(np.float64)
    seconds = rows[:-1, 0].sum()
    count = frames if frames is not None else max(2, int(seconds * fps))
    times = np.arange(count) / fps
    joints, rotations = forward_kinematics(rows, times.clip(max=seconds - 1e-3) if name in _ONCE else times)
    points, seen = body_points(joints, rotations)
    return project(points, seen, _CAMERAS.get(name, MotionCamera()))


@lru_cache(maxsize=1)
def _clips() -> dict[str, NDArray[np.float32]]:
    with (
        (files("idol.media") / "motions.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as packed,
    ):
        return {name: packed[name] for name in packed.files}


def forward_kinematics(rows: Array, times: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Compute the joints of a motion at given times.

    Args:
        rows: (keyframes, 44), as described at the top of this module.
        times: (f,) seconds; past its end the motion repeats from the position and heading it reached.

    Returns:
        Positions (f, 3) in meters and rotations (f, 3, 3) by joint name.
    """
    stamps = np.concatenate([[0], np.cumsum(rows[:-1, 0])])
    laps, inside = np.divmod(times, stamps[-1])
    positions: dict[str, Array] = {}
    rotations: dict[str, Rotation] = {}
    for joint, parent, offset, column, hinge in _BODY:
        local = Slerp(stamps, _rotations(rows, column, hinge))(inside)
        rotations[joint] = rotations[parent] * local if parent else local
        if parent:
            positions[joint] = positions[parent] + rotations[parent].apply(offset)
        else:
            position = np.stack([np.interp(inside, stamps, rows[:, 1 + axis]) for axis in range(3)], -1)
            heading, positions[joint] = _laps(rows, laps.astype(int), position)
            rotations[joint] = heading * rotations[joint]
    return positions, {joint: turn.as_matrix() for joint, turn in rotations.items()}


def _rotations(rows: Array, column: int, hinge: bool) -> Rotation:
    if hinge:
        return Rotation.from_rotvec(rows[:, column, None] * np.array([0.0, 0.0, 1.0]))
    return Rotation.from_quat(rows[:, [column + 1, column + 2, column + 3, column]])


def _laps(rows: Array, laps: NDArray[np.int64], position: Array) -> tuple[Rotation, Array]:
    """Return the heading gained and the root position when a motion repeats from where it ended."""
    first, last = (_heading(rows[i]) for i in (0, -1))
    turn, start = last - first, rows[0, 1:4] * [1, 0, 1]
    end = rows[-1, 1:4] * [1, 0, 1]
    origins, here = [], start
    for lap in range(int(laps.max(initial=0)) + 1):
        origins.append(here)
        here = here + _about_y(turn * lap).apply(end - start)
    heading = _about_y(turn * laps)
    return heading, np.array(origins)[laps] + heading.apply(position - start)


def _about_y(angle: float | NDArray) -> Rotation:
    return Rotation.from_rotvec(np.multiply.outer(angle, [0.0, 1.0, 0.0]))


def _heading(row: Array) -> float:
    """Return the angle about y of the direction that the root faces."""
    x, _, z = Rotation.from_quat(row[[5, 6, 7, 4]]).apply([1.0, 0.0, 0.0])
    return float(np.arctan2(-z, x))


def body_points(positions: dict[str, Array], rotations: dict[str, Array]) -> tuple[Array, Array]:
    """Compute OpenPose's 18 keypoints.

    Args:
        positions: Joint positions (f, 3) in meters, by name.
        rotations: Joint rotations (f, 3, 3), by name.

    Returns:
        Keypoints (f, 18, 3) in meters, and the direction (f, 18, 3) each looks in; zero if it looks
        everywhere.
    """
    points, looks = [], []
    for name in OPENPOSE_18:
        if name == "neck":  # OpenPose's is the middle of the shoulders
            points.append((positions["right_shoulder"] + positions["left_shoulder"]) / 2)
        elif name in _POINTS:
            carrier, offset = _POINTS[name]
            points.append(positions[carrier] + rotations[carrier] @ np.array(offset))
        else:
            points.append(positions[name])
        looks.append(rotations["neck"] @ np.array(_LOOKS.get(name, (0, 0, 0)), float))
    return np.stack(points, 1), np.stack(looks, 1)


def project(points: Array, looks: Array, camera: MotionCamera) -> Pose:
    """Project keypoints such that the whole motion fits the image.

    Args:
        points: (f, 18, 3) in meters.
        looks: (f, 18, 3) directions from which a point is visible; zero: from everywhere.
        camera: The camera; it looks at the center of the motion.

    Returns:
        18 joints in frames of 512 x 512 pixels; hidden face points are missing.
    """
    middle = (points.min((0, 1)) + points.max((0, 1))) / 2
    first = points[0, 8] - points[0, 11]  # left hip to right hip: the person faces up x this
    ahead = _about_y(np.radians(-camera.turn)).apply(np.cross([0.0, 1.0, 0.0], first * [1, 0, 1]))
    reach = np.linalg.norm((points - middle)[..., [0, 2]], axis=-1).max()
    eye = middle + ahead / np.linalg.norm(ahead) * max(camera.distance, 2.2 * reach)
    eye[1] = camera.height
    view = _view(eye, middle)
    seen = (points - eye) @ view.T
    flat = seen[..., :2] / seen[..., 2:]
    low, high = flat.min((0, 1)), flat.max((0, 1))
    scale = (1 - 2 * camera.margin) * IMAGE_SIZE / (high - low).max()
    pixels = (flat - (low + high) / 2) * scale + (IMAGE_SIZE - 1) / 2
    towards = ((eye - points) * looks).sum(-1) / np.linalg.norm(eye - points, axis=-1)
    visible = (towards > -0.1) | (np.abs(looks).sum(-1) == 0)
    keypoints = np.concatenate([pixels * visible[..., None], visible[..., None]], -1)
    return Pose(keypoints.astype(np.float32), IMAGE_SIZE, IMAGE_SIZE)


def _view(eye: Array, target: Array) -> Array:
    """Return the (3, 3) axes right, down and forward of a camera at `eye` that looks at `target`."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])
