"""Bones of a body whose joints coincide with 22 given points in space.

The points are OpenPose's 18 joints, the bases of the second toes (left, right) and of the middle fingers
(left, right). Rotations of pelvis, chest and head are relative to the same frames of the body at rest, whose
trunk leans. `idol.body.retarget` distributes them over spine and limbs; then each limb is turned by the
smallest rotation, and stretched, so that its joints coincide with the points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from idol.body.distance import BONES, weighted_median
from idol.body.from_joints import limb_rotations
from idol.body.motion import SEGMENTS, Motion
from idol.body.pinhole import PinholeCamera
from idol.body.retarget import ELBOW_HINGE, limb_rest_frames, retarget
from idol.body.rig import Body, BonePoses, PointSet
from idol.body.rotations import bone_frame, shortest, trunk_frame, unit

EXTRA_BONES = ("toe2-1.L", "toe2-1.R", "finger3-1.L", "finger3-1.R")
"""Bones whose heads are the last four of the 22 points."""

SIDES = {
    "R": {"shoulder": 2, "elbow": 3, "wrist": 4, "hip": 8, "knee": 9, "ankle": 10, "toe": 19, "hand": 21},
    "L": {"shoulder": 5, "elbow": 6, "wrist": 7, "hip": 11, "knee": 12, "ankle": 13, "toe": 18, "hand": 20},
}
"""Indices of the joints of each side among the 22 points."""

_NOSE, _NECK, _HIPS = 0, 1, [8, 11]
_FACE = [0, 14, 15, 16, 17]
_LIMBS = (
    ("upperarm", "shoulder", "elbow"),
    ("lowerarm", "elbow", "wrist"),
    ("upperleg", "hip", "knee"),
    ("lowerleg", "knee", "ankle"),
)
_LEAST_STRETCH, _MOST_STRETCH = 0.3, 2.0
_HALF_CURL = (0.5, 0.5)  # curl of the fingers, which have no points


@dataclass(frozen=True)
class PointRig:
    """A body that can be posed by points.

    Attributes:
        body: The body.
    """

    body: Body

    @cached_property
    def rest(self) -> Float[np.ndarray, "22 3"]:
        """The points of the body at rest, meters."""
        rig, body = self.body.rig, self.body
        return np.concatenate([rig.keypoints @ body.vertices, [body.head(bone) for bone in EXTRA_BONES]])

    @cached_property
    def joints(self) -> PointSet:
        """The 18 joints as functions of the bones."""
        rig = self.body.rig
        return PointSet.of(rig.keypoints, rig.weights, self.body.vertices)

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """Indices of the bones that move together: trunk, head, and hands and feet of both sides."""
        names = self.body.rig.bones
        trunk = ("root", "pelvis", "spine", "breast", "neck", "clavicle")
        groups = {f"{end}.{side}": self._below(f"{bone}.{side}") for side in "LR" for end, bone in _ENDS}
        groups["head"] = self._below("head")
        groups["trunk"] = [i for i, name in enumerate(names) if name.startswith(trunk)]
        return groups

    def _below(self, top: str) -> list[int]:
        inside = {self.body.rig.number(top)}
        for i, parent in enumerate(self.body.rig.parents):
            if parent in inside:
                inside.add(i)
        return sorted(inside)

    def size(self, points: Float[np.ndarray, "f 22 3"]) -> Float[np.ndarray, " f"]:
        """Return the size of the points relative to this body: the median over bones, weighted by length.

        Args:
            points: Points in any unit; the result is in that unit per meter.
        """
        lengths = np.linalg.norm(self.rest[BONES[:, 0]] - self.rest[BONES[:, 1]], axis=-1)
        found = np.linalg.norm(points[:, BONES[:, 0]] - points[:, BONES[:, 1]], axis=-1) / lengths
        return weighted_median(found, lengths)

    def pose(self, points: Float[np.ndarray, "f 22 3"]) -> BonePoses:
        """Return bone transforms whose joints coincide with the points.

        Args:
            points: Points in meters, Y up; several frames are consecutive and evenly spaced in time.
        """
        turns = self._turns(points)
        rotation = np.stack([turns[name] for name in SEGMENTS], 1)
        still = np.zeros((len(points), 3))
        motion = Motion("points", 30.0, rotation, still, still[:, 0])
        poses, size = retarget(motion, self.body, _HALF_CURL), self.size(points)
        grown = BonePoses(poses.rotation * size[:, None, None, None], poses.shift * size[:, None, None])
        return self._snapped(points, grown)

    def _turns(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rotations (f, 3, 3) of the segments from the body at rest."""
        rest = self.rest
        turns = {
            "pelvis": _trunk(points, 11, 8) @ _trunk(rest, 11, 8).T,
            "chest": _trunk(points, 5, 2) @ _trunk(rest, 5, 2).T,
            "head": _head(points) @ _head(rest).T,
        }
        for side, at in SIDES.items():
            arm = [points[:, at[name]] for name in ("shoulder", "elbow", "wrist")]
            leg = [points[:, at[name]] for name in ("hip", "knee", "ankle")]
            turns[f"upperarm.{side}"], turns[f"forearm.{side}"] = limb_rotations(arm, turns["chest"], "arm")
            turns[f"thigh.{side}"], turns[f"shin.{side}"] = limb_rotations(leg, turns["pelvis"], "leg")
            turns[f"foot.{side}"] = self._foot(points, turns[f"shin.{side}"], at)
            turns[f"hand.{side}"] = self._hand(points, turns[f"forearm.{side}"], side)
        return turns

    def _foot(self, points: np.ndarray, shin: np.ndarray, at: dict[str, int]) -> np.ndarray:
        hinge = np.array([1.0, 0.0, 0.0])
        now = bone_frame(points[:, at["toe"]] - points[:, at["ankle"]], shin @ hinge)
        return now @ bone_frame(self.rest[at["toe"]] - self.rest[at["ankle"]], hinge).T

    def _hand(self, points: np.ndarray, forearm: np.ndarray, side: str) -> np.ndarray:
        """Return the rotation of a hand that points at its knuckle."""
        at = SIDES[side]
        bones = (f"upperarm01.{side}", f"lowerarm01.{side}", f"wrist.{side}")
        along = forearm @ limb_rest_frames(self.body, bones, ELBOW_HINGE)[1]
        now = along @ (self.rest[at["hand"]] - self.rest[at["wrist"]])
        return shortest(now, points[:, at["hand"]] - points[:, at["wrist"]]) @ forearm

    def _snapped(self, points: np.ndarray, poses: BonePoses) -> BonePoses:
        made = BonePoses(poses.rotation.copy(), poses.shift.copy())
        self._shift_trunk(points, made)
        _put(made, self.groups["head"], self.rest[_FACE].mean(0), points[:, _FACE].mean(1))
        for side, at in SIDES.items():
            self._shift_shoulder(points, made, side)
            for bone, start, end in _LIMBS:
                numbers = [self.body.rig.number(f"{bone}{part}.{side}") for part in ("01", "02")]
                self._stretch(points, made, numbers, at[start], at[end])
            _put(made, self.groups[f"hand.{side}"], self.rest[at["wrist"]], points[:, at["wrist"]])
            _put(made, self.groups[f"foot.{side}"], self.rest[at["ankle"]], points[:, at["ankle"]])
        return made

    def _shift_trunk(self, points: np.ndarray, poses: BonePoses) -> None:
        """Move the trunk, in place, by the error at the hips, changing linearly to that at the neck."""
        found, rest = self.joints.posed(poses), self.rest
        hips = points[:, _HIPS].mean(1) - found[:, _HIPS].mean(1)
        neck = points[:, _NECK] - found[:, _NECK]
        low, high = rest[_HIPS, 1].mean(), rest[_NECK, 1]
        for bone in self.groups["trunk"]:
            share = np.clip((self.body.heads[bone, 1] - low) / (high - low), 0, 1)
            poses.shift[:, bone] += hips + share * (neck - hips)

    def _shift_shoulder(self, points: np.ndarray, poses: BonePoses, side: str) -> None:
        at = SIDES[side]["shoulder"]
        bone = self.body.rig.number(f"clavicle.{side}")
        poses.shift[:, bone] += (
            points[:, at] - (poses.rotation[:, bone] @ self.rest[at] + poses.shift[:, bone])
        ) / 2
        _put(poses, [self.body.rig.number(f"shoulder01.{side}")], self.rest[at], points[:, at])

    def _stretch(self, points: np.ndarray, poses: BonePoses, bones: list[int], start: int, end: int) -> None:
        wanted = points[:, end] - points[:, start]
        along = unit(wanted)
        for bone in bones:
            found = poses.rotation[:, bone] @ (self.rest[end] - self.rest[start])
            ratio = np.linalg.norm(wanted, axis=-1) / np.maximum(np.linalg.norm(found, axis=-1), 1e-6)
            more = (np.clip(ratio, _LEAST_STRETCH, _MOST_STRETCH) - 1)[:, None, None]
            longer = np.eye(3) + more * along[:, :, None] * along[:, None]
            poses.rotation[:, bone] = longer @ shortest(found, wanted) @ poses.rotation[:, bone]
        _put(poses, bones, self.rest[start], points[:, start])


_ENDS = (("hand", "wrist"), ("foot", "foot"))


def _trunk(points: np.ndarray, left: int, right: int) -> np.ndarray:
    up = points[..., _NECK, :] - points[..., _HIPS, :].mean(-2)
    return trunk_frame(points[..., left, :] - points[..., right, :], up)


def _head(points: np.ndarray) -> np.ndarray:
    left = unit(points[..., 17, :] - points[..., 16, :] + points[..., 15, :] - points[..., 14, :])
    forward = points[..., _NOSE, :] - points[..., [16, 17], :].mean(-2)
    forward = unit(forward - left * (forward * left).sum(-1, keepdims=True))
    return np.stack([left, np.cross(forward, left), forward], -1)


def _put(poses: BonePoses, bones: list[int], at_rest: np.ndarray, to: np.ndarray) -> None:
    """Shift bones, in place, so that they move a point at rest (3,) to positions (f, 3)."""
    for bone in bones:
        poses.shift[:, bone] = to - poses.rotation[:, bone] @ at_rest


def place_points(
    points: Float[np.ndarray, "f 22 3"],
    pixels_per_meter: Float[np.ndarray, " f"],
    camera: PinholeCamera,
) -> Float[np.ndarray, "f 22 3"]:
    """Convert points from pixels with relative depth to meters in front of the camera.

    Args:
        points: Column, row (downward) and nearness in pixels, 0 at the middle of the hips.
        pixels_per_meter: Scale at the distance of the hips.
        camera: The camera that sees the points.
    """
    scale = pixels_per_meter[:, None]
    distance = (camera.focal - points[..., 2]) / scale
    return camera.unproject(np.concatenate([points[..., :2], distance[..., None]], -1))
