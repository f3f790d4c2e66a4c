"""Joint layouts (OpenPose-18, COCO-17, COCO-WholeBody-133) and conversions between them."""

import numpy as np
from jaxtyping import Float

from idol.clip import Pose

OPENPOSE_18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
"""Joint names in the order of OpenPose's 18-joint body."""

COCO_17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""Joint names in COCO's order."""


def _whole_body_names() -> tuple[str, ...]:
    feet = ("big_toe", "small_toe", "heel")
    fingers = [f"{f}_{i}" for f in ("thumb", "index", "middle", "ring", "little") for i in range(1, 5)]
    return (
        *COCO_17,
        *(f"{side}_{part}" for side in ("left", "right") for part in feet),
        *(f"face_{i}" for i in range(68)),
        *(f"{side}_hand_{part}" for side in ("left", "right") for part in ("root", *fingers)),
    )


WHOLEBODY_133 = _whole_body_names()
"""Joint names of COCO-WholeBody: body 17, feet 6, face 68, left hand 21, right hand 21."""

COCO_OF_OPENPOSE = tuple(COCO_17.index(name) if name != "neck" else -1 for name in OPENPOSE_18)
"""Index in `COCO_17` of each joint of `OPENPOSE_18`; -1 for the neck, which COCO lacks."""

_NECK = OPENPOSE_18.index("neck")
_SHOULDERS = (COCO_17.index("left_shoulder"), COCO_17.index("right_shoulder"))


def from_coco17(keypoints: Float[np.ndarray, "f 17 3"], height: int, width: int) -> Pose:
    """Convert COCO-17 to OpenPose-18.

    The neck is the midpoint of the shoulders, and missing if one of them is.

    Args:
        keypoints: (f, 17, 3) x, y in pixels and confidence; missing joints have a confidence <= 0.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.

    Returns:
        The pose, 18 joints; missing joints are all zeros.
    """
    body = keypoints[:, np.maximum(COCO_OF_OPENPOSE, 0)].astype(np.float32)
    left, right = keypoints[:, _SHOULDERS[0]], keypoints[:, _SHOULDERS[1]]
    body[:, _NECK, :2] = (left[:, :2] + right[:, :2]) / 2
    # The neck is only as reliable as the weaker shoulder.
    body[:, _NECK, 2] = np.minimum(left[:, 2], right[:, 2])
    body[..., 2] = body[..., 2].clip(0, 1)
    body[body[..., 2] <= 0] = 0
    return Pose(body, height, width)


def from_halpe26(keypoints: Float[np.ndarray, "f 26 3"], height: int, width: int) -> Pose:
    """Convert Halpe-26 to OpenPose-18; Halpe's own neck is used only where a shoulder is missing.

    Args:
        keypoints: (f, 26, 3) x, y in pixels and confidence; missing joints have a confidence <= 0.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.

    Returns:
        The pose, 18 joints; missing joints are all zeros.
    """
    body = from_coco17(keypoints[:, :17], height, width).keypoints
    neck = keypoints[:, 18]
    lost = (body[:, _NECK, 2] <= 0) & (neck[:, 2] > 0)
    body[lost, _NECK] = np.concatenate([neck[lost, :2], neck[lost, 2:].clip(0, 1)], axis=-1)
    return Pose(body, height, width)


def from_wholebody(keypoints: Float[np.ndarray, "f 133 3"], height: int, width: int) -> Pose:
    """Convert an estimator's whole-body output to a pose.

    Args:
        keypoints: (f, 133, 3) x, y in pixels and confidence, in the order of `WHOLEBODY_133`; missing joints
            have a confidence <= 0.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.

    Returns:
        The pose, 133 joints; missing joints are all zeros.
    """
    body = keypoints.astype(np.float32)
    body[..., 2] = body[..., 2].clip(0, 1)
    body[body[..., 2] <= 0] = 0
    return Pose(body, height, width)


def body_18(pose: Pose) -> Pose:
    """Return the 18 OpenPose body joints of a pose of 18 or 133 joints."""
    if pose.keypoints.shape[1] == 18:
        return pose
    return from_coco17(pose.keypoints[:, :17], pose.height, pose.width)


def mirrored(pose: Pose) -> Pose:
    """Return the pose of the horizontally mirrored frames; left and right joints exchange names."""
    order = _OPENPOSE_MIRROR if pose.keypoints.shape[1] == 18 else _WHOLEBODY_MIRROR
    keypoints = pose.keypoints[:, order]
    visible = keypoints[..., 2] > 0
    keypoints[visible, 0] = pose.width - 1 - keypoints[visible, 0]
    return Pose(keypoints, pose.height, pose.width)


def _mirror_order(names: tuple[str, ...]) -> list[int]:
    """Return the index of each joint's mirror image; the 68 face points are numbered as in 300-W."""
    swapped = {"left": "right", "right": "left"}
    order = []
    for name in names:
        side, _, rest = name.partition("_")
        if side == "face":
            order.append(names.index(f"face_{_FACE_MIRROR[int(rest)]}"))
        else:
            order.append(names.index(f"{swapped[side]}_{rest}" if side in swapped else name))
    return order


def _ranges(*pairs: tuple[int, int]) -> list[int]:
    """Concatenate the ranges first, first +- 1, ..., last."""
    return [i for a, b in pairs for i in range(a, b + (1 if b >= a else -1), 1 if b >= a else -1)]


# Jaw, brows, bridge, nostrils, right and left eye (upper lid, lower lid), lips: each is its own mirror image.
_FACE_MIRROR = _ranges(
    (16, 0), (26, 17), (27, 30), (35, 31), (45, 42), (47, 46), (39, 36), (41, 40), (54, 48), (59, 55),
    (64, 60), (67, 65),
)  # fmt: skip
_OPENPOSE_MIRROR = _mirror_order(OPENPOSE_18)
_WHOLEBODY_MIRROR = _mirror_order(WHOLEBODY_133)
