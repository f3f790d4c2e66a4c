"""Reader of motion capture in Acclaim's format, a skeleton (ASF) and its motion (AMC), as in CMU's database.

Conventions, from the format's description by M. Schafer (University of Wisconsin, 1994): a bone points along
`direction`, in the root's frame, for `length`. Its local frame C has the `axis` angles; with M the rotation
by the frame's angles in the order of `dof`, the bone turns by L = C M C^-1 and globally by its parent's times
L. The root turns by its own `axis` C the same way. Angles compose x first: Rz Ry Rx.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from idol.body.from_joints import Tracks, from_tracks
from idol.body.motion import Motion

_FPS, _KEPT_FPS = 120.0, 30.0  # the CMU database's rate, and that of files thinned to every fourth frame
# At 120 frames/s even jumps are smooth, and hands and feet stay below about 12 leg lengths per second.
# Rougher or faster motion was thinned. All files of the database that were tried are classified correctly.
_ROUGH, _FAST = 0.2, 12.0
# The bone that ends at each joint ("%" is l or r).
_ENDS = {
    "spine": "lowerback",
    "neck": "thorax",
    "hip": "%hipjoint",
    "knee": "%femur",
    "ankle": "%tibia",
    "toe": "%foot",
    "shoulder": "%clavicle",
    "elbow": "%humerus",
    "wrist": "%radius",
}
_MIDDLE = ("spine", "neck")


@dataclass
class Bone:
    """One bone of an ASF file.

    Attributes:
        name: Name in the file.
        direction: (3,) unit vector in the root's frame at rest.
        length: Length in the units of the file.
        axis: (3, 3) rotation of the local frame.
        dof: Rotation channels among "rx", "ry", "rz", in the order of the AMC file.
        parent: Name of the parent bone, or "root".
    """

    name: str = ""
    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: np.ndarray = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()
    parent: str = "root"


@dataclass(frozen=True)
class Skeleton:
    """The contents of an ASF file.

    Attributes:
        bones: Parents first.
        root_axis: (3, 3) rotation of the local frame of the root.
        root_order: Channels of the root, such as ("tx", "ty", "tz", "rx", "ry", "rz").
        degrees: Whether angles are in degrees or radians.
    """

    bones: tuple[Bone, ...]
    root_axis: np.ndarray
    root_order: tuple[str, ...]
    degrees: bool


def read_asf_amc(path: Path) -> Motion:
    """Read the motion of an AMC file and its skeleton.

    The skeleton is the ASF file of the same name, or of the subject (the part before the last underscore), or
    the only one in the folder. The format does not hold the frame rate. A comment may (`# fps 60`); otherwise
    it is inferred from the movement, either 120, as recorded, or 30, as files are often thinned.

    Args:
        path: The AMC file.

    Returns:
        The motion, with the rotations of head and hands.

    Raises:
        ValueError: If there is no skeleton, the files disagree, or bones of a person are missing.
    """
    skeleton = parse_asf(_skeleton_of(path).read_text(errors="replace"))
    text = path.read_text(errors="replace")
    frames = parse_amc(text)
    tracks = _tracks(*bone_poses(skeleton, frames))
    fps = _stated_rate(text) or _inferred_rate(tracks)
    step = max(round(fps / _KEPT_FPS), 1)
    points, turns = ({k: v[::step] for k, v in part.items()} for part in (tracks.points, tracks.turns))
    return from_tracks(path.stem, fps / step, Tracks(points, turns))


def _skeleton_of(path: Path) -> Path:
    named = [path.with_suffix(".asf"), path.with_name(path.stem.rpartition("_")[0] + ".asf")]
    all_here = sorted(path.parent.glob("*.asf"))
    found = [p for p in named if p in all_here] or (all_here if len(all_here) == 1 else [])
    if not found:
        raise ValueError(f"no skeleton found, expected {named[0].name} or {named[1].name} in the same folder")
    return found[0]


def parse_asf(text: str) -> Skeleton:
    """Parse the text of an ASF file.

    Args:
        text: The text.

    Raises:
        ValueError: If it lacks bones or a hierarchy, or a parent is unknown.
    """
    sections = _sections(text)
    root = {words[0]: words[1:] for words in sections.get("root", [])}
    units = {words[0]: words[1:] for words in sections.get("units", [])}
    degrees = units.get("angle", ["deg"])[0].startswith("deg")
    bones = _parse_bones(sections.get("bonedata", []), degrees)
    ordered = _sort_bones(bones, sections.get("hierarchy", []))
    order = tuple(word.lower() for word in root.get("order", ["tx", "ty", "tz", "rx", "ry", "rz"]))
    turned = [float(x) for x in root.get("orientation", ["0"] * 3)]
    return Skeleton(ordered, _axis([*map(str, turned), *root.get("axis", ["XYZ"])], degrees), order, degrees)


def _sections(text: str) -> dict[str, list[list[str]]]:
    """Split a file into its `:keyword` sections, and their lines into words."""
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
        elif words:
            current.append(words)
    return sections


def _parse_bones(lines: list[list[str]], degrees: bool) -> dict[str, Bone]:
    bones: dict[str, Bone] = {}
    bone = Bone()
    for words in lines:
        match words[0].lower():
            case "begin":
                bone = Bone()
            case "end":
                bones[bone.name] = bone
            case "name":
                bone.name = words[1]
            case "direction":
                bone.direction = np.array([float(x) for x in words[1:4]])
            case "length":
                bone.length = float(words[1])
            case "axis":
                bone.axis = _axis(words[1:], degrees)
            case "dof":
                bone.dof = tuple(word.lower() for word in words[1:])
    return bones


def _axis(words: list[str], degrees: bool) -> np.ndarray:
    """Return the rotation (3, 3) of `a b c ORDER`, about fixed axes in the order of the letters."""
    angles, order = [float(x) for x in words[:3]], (words[3] if len(words) > 3 else "XYZ")
    return Rotation.from_euler(order.lower(), angles, degrees=degrees).as_matrix()


def _sort_bones(bones: dict[str, Bone], lines: list[list[str]]) -> tuple[Bone, ...]:
    """Set the parent of each bone and return the bones, parents first."""
    ordered: list[Bone] = []
    known = {"root"}
    for words in (w for w in lines if w[0].lower() not in ("begin", "end")):
        for name in words[1:]:
            if words[0] not in known or name not in bones:
                raise ValueError(f"hierarchy: bone {name} or its parent {words[0]} is unknown")
            bones[name].parent = words[0]
            ordered.append(bones[name])
            known.add(name)
    if not ordered:
        raise ValueError("no :bonedata or no :hierarchy section")
    return tuple(ordered)


def parse_amc(text: str) -> list[dict[str, list[float]]]:
    """Parse the text of an AMC file.

    Args:
        text: The text.

    Returns:
        The channel values of each frame, by bone.

    Raises:
        ValueError: If it has fewer than two frames.
    """
    frames: list[dict[str, list[float]]] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
        elif frames:
            frames[-1][words[0]] = [float(x) for x in words[1:]]
    if len(frames) < 2:
        raise ValueError(f"{len(frames)} frames, expected at least 2")
    return frames


def _stated_rate(text: str) -> float | None:
    """Return the frames per second stated in a comment, if any."""
    for line in (line for line in text.splitlines() if line.startswith("#")):
        words = line.lower().replace("=", " ").replace(":", " ").split()
        for before, after in zip(words, words[1:], strict=False):
            if before == "fps" and after.replace(".", "", 1).isdigit() and float(after) > 0:
                return float(after)
    return None


def _inferred_rate(tracks: Tracks) -> float:
    """Infer 120 or 30 frames per second from the smoothness and speed of hands and feet."""
    p = tracks.points
    ends = np.stack([p[f"{joint}.{side}"] for joint in ("wrist", "ankle") for side in "LR"], 1)
    leg = sum(
        float(np.linalg.norm(p[a] - p[b], axis=-1).mean())
        for a, b in (("hip.L", "knee.L"), ("knee.L", "ankle.L"))
    )
    first = np.diff(ends, axis=0)
    second = np.diff(first, axis=0)
    rough = np.sqrt((second**2).sum(-1).mean(0) / ((first**2).sum(-1).mean(0) + 1e-12))
    fast = np.percentile(np.linalg.norm(first, axis=-1), 99) * _FPS / leg
    return _KEPT_FPS if float(np.median(rough)) > _ROUGH or fast > _FAST else _FPS


def bone_poses(
    skeleton: Skeleton, frames: list[dict[str, list[float]]]
) -> tuple[dict[str, Float[np.ndarray, "f 3"]], dict[str, Float[np.ndarray, "f 3 3"]]]:
    """Compute forward kinematics.

    Args:
        skeleton: The skeleton.
        frames: Channel values of f frames, as `parse_amc` returns them.

    Returns:
        Positions (f, 3) of the ends of the bones in the units of the file, and global rotations (f, 3, 3), by
        name; "root" is one of them.

    Raises:
        ValueError: If a frame lacks a bone, or has another number of angles than its `dof`.
    """
    values = _channels("root", skeleton.root_order, frames)
    at = np.stack([values.get(f"t{x}", np.zeros(len(frames))) for x in "xyz"], -1)
    turned = _rotation(values, skeleton.root_order, skeleton.degrees)
    axis = skeleton.root_axis
    ends, turns = {"root": at}, {"root": axis @ turned @ axis.T}
    for bone in skeleton.bones:
        values = _channels(bone.name, bone.dof, frames)
        own = bone.axis @ _rotation(values, bone.dof, skeleton.degrees) @ bone.axis.T
        turns[bone.name] = turns[bone.parent] @ own
        ends[bone.name] = ends[bone.parent] + turns[bone.name] @ (bone.direction * bone.length)
    return ends, turns


def _channels(
    name: str, dof: tuple[str, ...], frames: list[dict[str, list[float]]]
) -> dict[str, Float[np.ndarray, " f"]]:
    if not dof:
        return {}
    rows = [frame.get(name, []) for frame in frames]
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(dof)), None)
    if wrong is not None:
        raise ValueError(f"frame {wrong + 1}: {len(rows[wrong])} numbers for {name}, expected {len(dof)}")
    return dict(zip(dof, np.array(rows).T, strict=True))


def _rotation(
    values: dict[str, Float[np.ndarray, " f"]], dof: tuple[str, ...], degrees: bool
) -> Float[np.ndarray, "*f 3 3"]:
    """Return rotations by the angles, about fixed axes, in the order of `dof`."""
    order = [channel for channel in dof if channel.startswith("r")]
    if not order:
        return np.eye(3)
    angles = np.stack([values[channel] for channel in order], -1)
    letters = "".join(channel[1] for channel in order)
    return Rotation.from_euler(letters, angles, degrees=degrees).as_matrix()


def _tracks(
    ends: dict[str, Float[np.ndarray, "f 3"]], turns: dict[str, Float[np.ndarray, "f 3 3"]]
) -> Tracks:
    wanted = {
        f"{joint}{'.' + side if side else ''}": bone.replace("%", side.lower())
        for joint, bone in _ENDS.items()
        for side in ([""] if joint in _MIDDLE else ["L", "R"])
    }
    missing = sorted(bone for bone in wanted.values() if bone not in ends)
    if missing:
        raise ValueError(f"no bones {', '.join(missing)}, expected those of the CMU database")
    known = {"head": "head", "hand.L": "lhand", "hand.R": "rhand"}
    return Tracks(
        {joint: ends[bone] for joint, bone in wanted.items()},
        {name: turns[bone] for name, bone in known.items() if bone in turns},
    )
