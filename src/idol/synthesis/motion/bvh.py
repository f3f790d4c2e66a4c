"""Reader of BVH motion capture files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from idol.body.from_joints import Tracks, from_tracks
from idol.body.motion import Motion
from idol.body.rotations import unit

_FPS = 30.0
# Names of a joint in common skeletons, most likely first; "%" stands for Left/Right or L/R.
_NAMES = {
    "spine": ("lowerback", "Spine1", "Spine", "Chest"),
    "neck": ("Neck", "Neck1", "lowerneck"),
    "head": ("Head",),
    "hip": ("%UpLeg", "%Hip", "UpperLeg_%"),
    "knee": ("%Leg", "%Knee", "LowerLeg_%"),
    "ankle": ("%Foot", "%Ankle", "Foot_%"),
    "toe": ("%ToeBase", "%Toe", "Toes_%"),
    "shoulder": ("%Arm", "%Shoulder", "UpperArm_%"),
    "elbow": ("%ForeArm", "%Elbow", "LowerArm_%"),
    "wrist": ("%Hand", "%Wrist", "Hand_%"),
}
_MIDDLE = ("spine", "neck", "head")
_OPTIONAL = ("head",)


@dataclass
class Joint:
    """One joint of a BVH file.

    Attributes:
        name: Name in the file.
        parent: Index of the parent, -1 for the root.
        offset: (3,) offset from the parent in the units of the file.
        channels: Names of the channels, in the order of the file.
    """

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """The contents of a BVH file.

    Attributes:
        joints: Joints, parents first.
        values: (f, c) values of the channels of all joints, in order.
        frame_time: Seconds per frame.
    """

    joints: tuple[Joint, ...]
    values: np.ndarray
    frame_time: float


def parse_bvh(text: str) -> Recording:
    """Parse the text of a BVH file.

    Raises:
        ValueError: If it is not BVH, or its values do not match its hierarchy.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    start = next((i for i, words in enumerate(lines) if words[0] == "MOTION"), None)
    if start is None or lines[0][0] != "HIERARCHY":
        raise ValueError("no HIERARCHY or no MOTION section")
    joints = _parse_hierarchy(lines[1:start])
    count, seconds = int(lines[start + 1][-1]), float(lines[start + 2][-1])
    values = np.array([[float(x) for x in words] for words in lines[start + 3 : start + 3 + count]])
    channels = sum(len(joint.channels) for joint in joints)
    if values.shape != (count, channels) or count < 2 or seconds <= 0:
        raise ValueError(f"{values.shape} values for {count} frames of {channels} channels")
    return Recording(tuple(joints), values, seconds)


def _parse_hierarchy(lines: list[list[str]]) -> list[Joint]:
    joints: list[Joint] = []
    stack: list[int] = []
    for words in lines:
        match words[0]:
            case "ROOT" | "JOINT" | "End":
                parent = stack[-1] if stack else -1
                joints.append(Joint(words[1] if words[0] != "End" else f"end of {parent}", parent))
            case "{":
                stack.append(len(joints) - 1)
            case "}":
                stack.pop()
            case "OFFSET":
                joints[-1].offset = np.array([float(x) for x in words[1:4]])
            case "CHANNELS":
                joints[-1].channels = tuple(words[2:])
    return joints


def joint_poses(recording: Recording, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute global positions (f, j, 3) and rotations (f, j, 3, 3) of the joints by forward kinematics.

    Args:
        recording: The file.
        values: (f, c) values of the channels: those of the file, or some of its frames.
    """
    f, j = len(values), len(recording.joints)
    where, turn = np.zeros((f, j, 3)), np.zeros((f, j, 3, 3))
    at = 0
    for i, joint in enumerate(recording.joints):
        numbers = values[:, at : at + len(joint.channels)]
        at += len(joint.channels)
        shift, own = _channels(joint, numbers)
        if joint.parent < 0:
            where[:, i], turn[:, i] = shift, own
        else:
            where[:, i] = where[:, joint.parent] + np.einsum("fij,fj->fi", turn[:, joint.parent], shift)
            turn[:, i] = turn[:, joint.parent] @ own
    return where, turn


def _channels(joint: Joint, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the local translation (f, 3) and rotation (f, 3, 3); position channels replace the offset."""
    shift = np.tile(joint.offset, (len(numbers), 1))
    axes, columns = "", list[int]()
    for column, channel in enumerate(joint.channels):
        if channel.endswith("position"):
            shift[:, "XYZ".index(channel[0])] = numbers[:, column]
        else:
            axes, columns = axes + channel[0].upper(), [*columns, column]
    if not axes:
        return shift, np.tile(np.eye(3), (len(numbers), 1, 1))
    return shift, Rotation.from_euler(axes, numbers[:, columns], degrees=True).as_matrix()


def read_bvh(path: Path) -> Motion:
    """Read a BVH file of a person with any up axis, any units, and common joint names (Mixamo, CMU).

    Raises:
        ValueError: If it is not BVH, or joints of a person are missing.
    """
    recording = parse_bvh(path.read_text(errors="replace"))
    step = 1 / _FPS / recording.frame_time
    chosen = np.arange(0, len(recording.values), max(step, 1.0)).astype(int)
    where, turn = joint_poses(recording, recording.values[chosen])
    number = _find_joints([joint.name for joint in recording.joints])
    up = _upright(where, number)
    points = {name: where[:, i] @ up.T for name, i in number.items()}
    turns = {"head": up @ turn[:, number["head"]]} if "head" in number else {}
    turns |= {f"hand.{s}": up @ turn[:, number[f"wrist.{s}"]] for s in "LR"}
    return from_tracks(path.stem, min(_FPS, 1 / recording.frame_time), Tracks(points, turns))


def _find_joints(names: list[str]) -> dict[str, int]:
    """Return the indices of the joints of a person; a common prefix of names (`mixamorig:`) is ignored."""
    prefix = next((name[: -len("Hips")] for name in names if name.endswith("Hips")), "")
    names = [name.removeprefix(prefix) for name in names]
    number: dict[str, int] = {}
    for joint, spellings in _NAMES.items():
        sides = {"": [""]} if joint in _MIDDLE else {".L": ["Left", "L"], ".R": ["Right", "R"]}
        for ending, words in sides.items():
            candidates = [s.replace("%", word) for s in spellings for word in words]
            found = next((names.index(c) for c in candidates if c in names), None)
            if found is not None:
                number[joint + ending] = found
            elif joint not in _OPTIONAL:
                raise ValueError(f"no joint for {joint}{ending} among {', '.join(names)}")
    return number


def _upright(where: np.ndarray, number: dict[str, int]) -> np.ndarray:
    """Return the rotation (3, 3) that maps the up axis of the file, from ankles to neck, to +Y."""
    ankles = (where[:, number["ankle.L"]] + where[:, number["ankle.R"]]) / 2
    mean = unit((where[:, number["neck"]] - ankles).mean(0))
    axis = int(np.argmax(np.abs(mean)))
    sign = 1.0 if mean[axis] > 0 else -1.0
    up = np.zeros(3)
    up[axis] = sign
    side = np.roll(np.eye(3)[axis], -1)
    return np.stack([side, up, np.cross(side, up)])
