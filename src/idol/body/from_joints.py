"""Rotations of body segments from the positions of joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from idol.body.motion import SEGMENTS, Motion, from_rotations
from idol.body.rotations import (
    bone_frame,
    mean_rotation,
    shortest,
    transpose,
    trunk_frame,
    unit,
)

_DOWN = np.array([0.0, -1.0, 0.0])
_HINGE = {"arm": np.array([-1.0, 0.0, 0.0]), "leg": np.array([1.0, 0.0, 0.0])}


@dataclass(frozen=True)
class Tracks:
    """Joints of a recording over time.

    Attributes:
        points: Positions (f, 3) by joint name, any unit, Y up.
        turns: Global rotations (f, 3, 3) of "head", "hand.L" and "hand.R", as far as they are known.
    """

    points: Mapping[str, np.ndarray]
    turns: Mapping[str, np.ndarray] = field(default_factory=dict)


def from_tracks(name: str, fps: float, tracks: Tracks) -> Motion:
    """Compute segment rotations from the directions of bones and the planes in which joints bend.

    Args:
        name: Name of the motion.
        fps: Frames per second.
        tracks: Joints "spine", "neck" and, on both sides (".L", ".R"), hip, knee, ankle, toe, shoulder, elbow
            and wrist. Without their rotations the head follows the chest, and hands follow forearms.
    """
    p = tracks.points
    middle = (p["hip.L"] + p["hip.R"]) / 2
    turns = {
        "pelvis": trunk_frame(p["hip.L"] - p["hip.R"], p["spine"] - middle),
        "chest": trunk_frame(p["shoulder.L"] - p["shoulder.R"], p["neck"] - p["spine"]),
    }
    turns["head"] = _follow(tracks.turns.get("head"), turns["chest"])
    for side in "LR":
        arm = [p[f"{joint}.{side}"] for joint in ("shoulder", "elbow", "wrist")]
        leg = [p[f"{joint}.{side}"] for joint in ("hip", "knee", "ankle")]
        turns[f"upperarm.{side}"], turns[f"forearm.{side}"] = limb_rotations(arm, turns["chest"], "arm")
        turns[f"thigh.{side}"], turns[f"shin.{side}"] = limb_rotations(leg, turns["pelvis"], "leg")
        turns[f"hand.{side}"] = _follow(tracks.turns.get(f"hand.{side}"), turns[f"forearm.{side}"])
        turns[f"foot.{side}"] = _foot(p[f"ankle.{side}"], p[f"toe.{side}"], turns[f"shin.{side}"])
    lengths = [
        np.linalg.norm(p[f"hip.{s}"] - p[f"knee.{s}"], axis=1)
        + np.linalg.norm(p[f"knee.{s}"] - p[f"ankle.{s}"], axis=1)
        for s in "LR"
    ]
    rotation = np.stack([turns[segment] for segment in SEGMENTS], 1)
    return from_rotations(name, fps, rotation, middle / float(np.median(lengths)))


def _follow(turn: np.ndarray | None, parent: np.ndarray) -> np.ndarray:
    """Return a segment's rotation, offset so that its mean equals its parent's; the parent's if unknown."""
    if turn is None:
        return parent
    return turn @ mean_rotation(transpose(turn) @ parent)


def limb_rotations(
    joints: list[np.ndarray], trunk: np.ndarray, kind: Literal["arm", "leg"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the global rotations (f, 3, 3) of the two segments of a limb.

    Args:
        joints: Positions (f, 3) of the limb's start, elbow or knee, and end.
        trunk: Rotation (f, 3, 3) of the segment that the limb is attached to.
        kind: Which way the joint bends.
    """
    first, second = unit(joints[1] - joints[0]), unit(joints[2] - joints[1])
    bend = np.cross(first, second)
    strength = np.linalg.norm(bend, axis=-1)
    # A straight limb has no bending plane: blend to the plane that the shortest swing from rest gives.
    local = np.einsum("fji,fj->fi", trunk, first)
    swung = np.einsum(
        "fij,fj->fi", trunk @ shortest(_DOWN, local), np.broadcast_to(_HINGE[kind], local.shape)
    )
    weight = np.clip((strength - 0.12) / 0.3, 0, 1)
    weight = np.where((unit(bend) * swung).sum(-1) < -0.3, 0.0, weight)[:, None]
    hinge = unit(gaussian_filter1d(unit(weight * unit(bend) + (1 - weight) * swung), 1.5, axis=0))
    rest = bone_frame(_DOWN, _HINGE[kind])
    return bone_frame(first, hinge) @ rest.T, bone_frame(second, hinge) @ rest.T


def _foot(ankle: np.ndarray, toe: np.ndarray, shin: np.ndarray) -> np.ndarray:
    """Return foot rotations; a foot is flat at its median pitch over the frames in which it is lowest."""
    direction = unit(toe - ankle)
    standing = toe[:, 1] <= np.percentile(toe[:, 1], 30)
    pitch = float(np.median(direction[standing, 1]))
    rest = np.array([0.0, pitch, np.sqrt(max(1 - pitch * pitch, 0.0))])
    return shortest(shin @ rest, direction) @ shin
