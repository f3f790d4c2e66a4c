"""Retarget a `Motion` to the bones of a particular body.

The rotation of the trunk is distributed over the spine, and the twist of a limb over its bones. A joint bends
in the plane in which the body's limb is bent at rest, so that the source may have any skeleton.
"""

from __future__ import annotations

import numpy as np

from idol.body.motion import INDEX, Motion
from idol.body.rig import Body, BonePoses, relative
from idol.body.rotations import (
    IDENTITY,
    bone_frame,
    from_vector,
    part_of,
    shortest,
    swing_twist,
    unit,
)

_DOWN = np.array([0.0, -1.0, 0.0])
ELBOW_HINGE, KNEE_HINGE = np.array([-1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0])
"""Axis about which the joint bends, for a limb that hangs straight down."""

_SPINE = {"spine05": 0.1, "spine04": 0.3, "spine03": 0.55, "spine02": 0.8, "spine01": 1.0}
_NECK = {"neck01": 0.25, "neck02": 0.5, "neck03": 0.75, "head": 1.0}
_CURL = {1: 0.35, 2: 0.5, 3: 0.35}  # share of a finger's curl in each of its bones


def retarget(motion: Motion, body: Body, curl: tuple[float, float] = (0.5, 0.5)) -> BonePoses:
    """Pose a body as a motion says.

    The hips follow the motion horizontally. Their height is not final: the caller puts the body on the floor.

    Args:
        motion: Any motion, f frames.
        body: The body to move.
        curl: Curl of the left and right fingers; the middle joint is bent by half as many radians.

    Returns:
        Bone transforms of f frames.
    """
    turn = {name: motion.rotation[:, i] for name, i in INDEX.items()}
    bones = {"root": turn["pelvis"]}
    bones |= _spread(turn["pelvis"], turn["chest"], _SPINE) | _spread(turn["chest"], turn["head"], _NECK)
    for side, bend in zip("LR", curl, strict=True):
        bones |= _arm(turn, body, side) | _leg(turn, body, side)
        bones |= _fingers(bones[f"wrist.{side}"], body, side, bend)
    leg = sum(
        np.linalg.norm(body.head(a) - body.head(b))
        for a, b in (("upperleg01.L", "lowerleg01.L"), ("lowerleg01.L", "foot.L"))
    )
    return _chain(bones, body, motion.hips * leg)


def _spread(start: np.ndarray, end: np.ndarray, shares: dict[str, float]) -> dict[str, np.ndarray]:
    between = relative(start, end)
    return {bone: start @ part_of(between, share) for bone, share in shares.items()}


def limb_rest_frames(body: Body, bones: tuple[str, str, str], hinge: np.ndarray) -> list[np.ndarray]:
    """Return the rotations (3, 3) of a limb's two bones from rest to hanging straight down.

    Args:
        body: The body.
        bones: Names of the limb's two bones and of the bone that follows them.
        hinge: `ELBOW_HINGE` or `KNEE_HINGE`.
    """
    joints = [body.head(bone) for bone in bones]
    first, second = joints[1] - joints[0], joints[2] - joints[1]
    bend = np.cross(unit(first), unit(second))
    swung = shortest(_DOWN, first) @ hinge
    # A limb that is nearly straight at rest does not define a bending plane.
    if np.linalg.norm(bend) < 0.05 or bend @ swung < 0:
        bend = swung
    straight = bone_frame(_DOWN, hinge)
    return [straight @ bone_frame(bone, bend).T for bone in (first, second)]


def _arm(turn: dict[str, np.ndarray], body: Body, side: str) -> dict[str, np.ndarray]:
    bones = (f"upperarm01.{side}", f"lowerarm01.{side}", f"wrist.{side}")
    rest_upper, rest_lower = limb_rest_frames(body, bones, ELBOW_HINGE)
    chest, hand = turn["chest"], turn[f"hand.{side}"] @ rest_lower
    upper, lower = turn[f"upperarm.{side}"] @ rest_upper, turn[f"forearm.{side}"] @ rest_lower
    lift = relative(chest, upper)
    shoulder = chest @ part_of(lift, 0.22)
    swing, twist = swing_twist(relative(shoulder, upper), unit(body.head(bones[1]) - body.head(bones[0])))
    bend, roll = swing_twist(relative(upper, lower), unit(body.head(bones[2]) - body.head(bones[1])))
    return {
        f"clavicle.{side}": chest @ part_of(lift, 0.12),
        f"shoulder01.{side}": shoulder,
        f"upperarm01.{side}": shoulder @ swing @ part_of(twist, 0.35),
        f"upperarm02.{side}": shoulder @ swing @ part_of(twist, 0.8),
        f"lowerarm01.{side}": upper @ bend @ part_of(roll, 0.5),
        f"lowerarm02.{side}": lower,
        f"wrist.{side}": hand,
    }


def _leg(turn: dict[str, np.ndarray], body: Body, side: str) -> dict[str, np.ndarray]:
    bones = (f"upperleg01.{side}", f"lowerleg01.{side}", f"foot.{side}")
    rest_upper, rest_lower = limb_rest_frames(body, bones, KNEE_HINGE)
    upper, lower = turn[f"thigh.{side}"] @ rest_upper, turn[f"shin.{side}"] @ rest_lower
    pelvis = turn["pelvis"]
    lift = relative(pelvis, upper)
    swing, twist = swing_twist(lift, unit(body.head(bones[1]) - body.head(bones[0])))
    return {
        f"pelvis.{side}": pelvis @ part_of(lift, 0.06),
        f"upperleg01.{side}": pelvis @ swing @ part_of(twist, 0.4),
        f"upperleg02.{side}": upper,
        f"lowerleg01.{side}": lower,
        f"lowerleg02.{side}": lower,
        f"foot.{side}": turn[f"foot.{side}"],
    }


def _fingers(wrist: np.ndarray, body: Body, side: str, curl: float) -> dict[str, np.ndarray]:
    across = unit(body.head(f"finger5-1.{side}") - body.head(f"finger2-1.{side}"))
    sign = -1.0 if side == "L" else 1.0
    bones: dict[str, np.ndarray] = {}
    for finger in range(2, 6):
        turned = wrist
        for bone, share in _CURL.items():
            turned = turned @ from_vector(across * sign * curl * share)
            bones[f"finger{finger}-{bone}.{side}"] = turned
    return bones


def _chain(bones: dict[str, np.ndarray], body: Body, hips: np.ndarray) -> BonePoses:
    """Chain the bones from the root; bones that are not listed follow their parents."""
    rig = body.rig
    frames, count = len(hips), len(rig.bones)
    rotation, heads = np.zeros((frames, count, 3, 3)), np.zeros((frames, count, 3))
    for i, (name, parent) in enumerate(zip(rig.bones, rig.parents, strict=True)):
        if parent < 0:
            rotation[:, i], heads[:, i] = bones.get(name, IDENTITY), hips
            continue
        rotation[:, i] = bones.get(name, rotation[:, parent])
        heads[:, i] = heads[:, parent] + rotation[:, parent] @ (body.heads[i] - body.heads[parent])
    return BonePoses(rotation, heads - np.einsum("fbij,bj->fbi", rotation, body.heads))
