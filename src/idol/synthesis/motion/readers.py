"""Readers of motion files: DeepMimic text, BVH, ASF/AMC, joint positions and Isaac Lab npz."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from idol.body.from_joints import Tracks, from_tracks
from idol.body.motion import INDEX, SEGMENTS, Motion, from_rotations
from idol.errors import UserError
from idol.synthesis.motion.asf_amc import read_asf_amc
from idol.synthesis.motion.bvh import read_bvh
from idol.synthesis.motion.joint_tracks import read_joint_positions

FPS = 30.0


def read_motion(path: Path) -> Motion:
    """Read a motion file; its suffix (.bvh, .amc, .txt, .npz) gives the format.

    Raises:
        UserError: If the suffix is unknown, or the file cannot be read.
    """
    readers = {".bvh": read_bvh, ".amc": read_asf_amc, ".txt": read_deepmimic, ".npz": _read_npz}
    if path.suffix.lower() not in readers:
        raise UserError(str(path), "is not a motion file", f"use one of {', '.join(readers)}")
    try:
        return readers[path.suffix.lower()](path)
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise UserError(str(path), f"cannot be read as motion ({error})", "check the file") from error


def _read_npz(path: Path) -> Motion:
    """Read joint positions or an Isaac Lab motion, whichever arrays the file holds."""
    with np.load(path, allow_pickle=False) as data:
        names = set(data.files)
    return read_joint_positions(path) if "positions" in names else read_isaaclab(path)


# The column where each joint starts in a frame (after duration and root position), and the joint's parent.
_DEEPMIMIC = {
    "pelvis": (4, None),
    "chest": (8, "pelvis"),
    "head": (12, "chest"),
    "thigh.R": (16, "pelvis"),
    "shin.R": (20, "thigh.R"),
    "foot.R": (21, "shin.R"),
    "upperarm.R": (25, "chest"),
    "forearm.R": (29, "upperarm.R"),
    "thigh.L": (30, "pelvis"),
    "shin.L": (34, "thigh.L"),
    "foot.L": (35, "shin.L"),
    "upperarm.L": (39, "chest"),
    "forearm.L": (43, "upperarm.L"),
}
_DEEPMIMIC_LEG = 0.8316  # meters, thigh plus shin of its humanoid
_FROM_X_FORWARD = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def read_deepmimic(path: Path) -> Motion:
    """Read a DeepMimic clip: JSON, +X forward, Y up, quaternions (w, x, y, z), angles of knees and elbows."""
    frames = np.array(json.loads(path.read_text())["Frames"], float)
    if frames.ndim != 2 or frames.shape[1] != 44:
        raise ValueError(f"frames of shape {frames.shape}, expected (f, 44)")
    times = np.concatenate([[0.0], np.cumsum(frames[:-1, 0])])
    wanted = np.arange(0.0, times[-1], 1 / FPS)
    turns: dict[str, Rotation] = {}
    for name, (at, parent) in _DEEPMIMIC.items():
        own = _deepmimic_joint(frames, at, name.startswith(("shin", "forearm")))
        turns[name] = turns[parent] * own if parent else own
    rotation = np.zeros((len(wanted), len(SEGMENTS), 3, 3))
    for name in SEGMENTS:  # hands follow the forearms
        turn = Slerp(times, turns[name.replace("hand", "forearm")])(wanted).as_matrix()
        rotation[:, INDEX[name]] = _FROM_X_FORWARD @ turn @ _FROM_X_FORWARD.T
    hips = np.stack([np.interp(wanted, times, frames[:, 1 + i]) for i in range(3)], 1)
    return from_rotations(path.stem, FPS, rotation, hips @ _FROM_X_FORWARD.T / _DEEPMIMIC_LEG)


def _deepmimic_joint(frames: np.ndarray, at: int, hinge: bool) -> Rotation:
    if hinge:
        return Rotation.from_rotvec(frames[:, at, None] * np.array([0.0, 0.0, 1.0]))
    return Rotation.from_quat(frames[:, [at + 1, at + 2, at + 3, at]])


_FROM_Z_UP_X_FORWARD = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def read_isaaclab(path: Path) -> Motion:
    """Read an Isaac Lab humanoid motion: positions (f, 15, 3), Z up, quaternions (w, x, y, z)."""
    with np.load(path) as data:
        step = max(int(round(float(data["fps"]) / FPS)), 1)
        where = data["body_positions"][::step].astype(float)
        quaternion = data["body_rotations"][::step].astype(float)
        names, fps = [str(n) for n in data["body_names"]], float(data["fps"]) / step
    turn = {n: Rotation.from_quat(quaternion[:, i][:, [1, 2, 3, 0]]) for i, n in enumerate(names)}
    at = {n: where[:, i] for i, n in enumerate(names)}
    points = {"spine": at["torso"], "neck": at["torso"] + turn["torso"].apply([0, 0, 0.22])}
    for side, word in (("L", "left"), ("R", "right")):
        foot = f"{word}_foot"
        parts = ("thigh", "shin", "foot", "upper_arm", "lower_arm", "hand")
        joints = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
        points |= {f"{joint}.{side}": at[f"{word}_{part}"] for joint, part in zip(joints, parts, strict=True)}
        points[f"toe.{side}"] = at[foot] + turn[foot].apply([0.15, 0, -0.045])
    head = _FROM_Z_UP_X_FORWARD @ turn["head"].as_matrix()
    return from_tracks(
        path.stem, fps, Tracks({k: v @ _FROM_Z_UP_X_FORWARD.T for k, v in points.items()}, {"head": head})
    )
