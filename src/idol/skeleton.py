"""Joints: their orders, conversions between them, and the skeleton image that the model is shown."""

from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from idol.clip import Pose

OPENPOSE_18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
    "left_eye", "right_ear", "left_ear",
)  # fmt: skip
"""Joint names in the order of OpenPose's 18-joint body."""

COCO_17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""Joint names in COCO's order."""

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""Pairs of joints of `OPENPOSE_18` that are drawn as limbs, in the order of drawing."""

COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""RGB of joint i and of limb i."""


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

_COCO_OF_OPENPOSE = tuple(COCO_17.index(name) if name != "neck" else -1 for name in OPENPOSE_18)
_NECK = OPENPOSE_18.index("neck")
_SHOULDERS = (COCO_17.index("left_shoulder"), COCO_17.index("right_shoulder"))


def from_coco17(keypoints: Float[np.ndarray, "f 17 3"], height: int, width: int) -> Pose:
    """OpenPose-18 of COCO-17: the neck is the middle of the shoulders, and missing if one of them is.

    Args:
        keypoints: x, y in pixels and confidence; missing joints have a confidence <= 0.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.

    Returns:
        The pose, 18 joints; missing joints are all zeros.
    """
    body = keypoints[:, np.maximum(_COCO_OF_OPENPOSE, 0)].astype(np.float32)
    left, right = keypoints[:, _SHOULDERS[0]], keypoints[:, _SHOULDERS[1]]
    body[:, _NECK, :2] = (left[:, :2] + right[:, :2]) / 2
    body[:, _NECK, 2] = np.minimum(left[:, 2], right[:, 2])
    body[..., 2] = body[..., 2].clip(0, 1)
    body[body[..., 2] <= 0] = 0
    return Pose(body, height, width)


def from_halpe26(keypoints: Float[np.ndarray, "f 26 3"], height: int, width: int) -> Pose:
    """OpenPose-18 of Halpe-26, whose own neck steps in only where a shoulder is missing.

    Args:
        keypoints: x, y in pixels and confidence; missing joints have a confidence <= 0.
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
    """The whole-body pose, 133 joints, of an estimator's output; missing joints become all zeros.

    Args:
        keypoints: x, y in pixels and confidence in the order of `WHOLEBODY_133`.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
    """
    body = keypoints.astype(np.float32)
    body[..., 2] = body[..., 2].clip(0, 1)
    body[body[..., 2] <= 0] = 0
    return Pose(body, height, width)


def body_18(pose: Pose) -> Pose:
    """The 18 body joints of a pose, whichever kind it is."""
    if pose.keypoints.shape[1] == 18:
        return pose
    return from_coco17(pose.keypoints[:, :17], pose.height, pose.width)


def mirrored(pose: Pose) -> Pose:
    """The pose of the horizontally mirrored frames: left and right change names too."""
    order = _OPENPOSE_MIRROR if pose.keypoints.shape[1] == 18 else _WHOLEBODY_MIRROR
    keypoints = pose.keypoints[:, order]
    there = keypoints[..., 2] > 0
    keypoints[there, 0] = pose.width - 1 - keypoints[there, 0]
    return Pose(keypoints, pose.height, pose.width)


def _mirror_order(names: tuple[str, ...]) -> list[int]:
    """Index of each joint's mirror image; the 68 face points pair up by the usual 300-W numbering."""
    swapped = {"left": "right", "right": "left"}
    order = []
    for name in names:
        side, _, rest = name.partition("_")
        if side == "face":
            order.append(names.index(f"face_{_FACE_MIRROR[int(rest)]}"))
        else:
            order.append(names.index(f"{swapped[side]}_{rest}" if side in swapped else name))
    return order


def _runs(*pairs: tuple[int, int]) -> list[int]:
    """The concatenated ranges first, first +- 1, ..., last."""
    return [i for a, b in pairs for i in range(a, b + (1 if b >= a else -1), 1 if b >= a else -1)]


# Jaw, brows, bridge, nostrils, right and left eye (upper lid, lower lid), lips: each mirrored in place.
_FACE_MIRROR = _runs(
    (16, 0), (26, 17), (27, 30), (35, 31), (45, 42), (47, 46), (39, 36), (41, 40), (54, 48), (59, 55),
    (64, 60), (67, 65),
)  # fmt: skip
_OPENPOSE_MIRROR = _mirror_order(OPENPOSE_18)
_WHOLEBODY_MIRROR = _mirror_order(WHOLEBODY_133)


def draw(
    pose: Pose,
    height: int,
    width: int,
    *,
    stick_width: float = 4.0,
    radius: float = 4.0,
    at: Literal["source", "model"] = "source",
) -> UInt8[np.ndarray, "f 3 {height} {width}"]:
    """Skeleton images in OpenPose's colours on black.

    Joints are filled circles; over them each limb is a filled ellipse from joint to joint, 60 % opaque. A
    joint of confidence 0 is missing, and so are its limbs. Of whole-body poses the 18 body joints are drawn.

    Args:
        pose: The joints.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        stick_width: Half the thickness of a limb in pixels.
        radius: Radius of a joint in pixels.
        at: "source" draws at the pose's own resolution and shrinks the drawing as the frames are shrunk, so
            that lines get thinner with them; "model" draws at height x width with exactly the given widths.

    Returns:
        RGB images.
    """
    size = (pose.height, pose.width) if at == "source" else (height, width)
    joints = body_18(pose.resized(*size)).keypoints.astype(np.float64)
    images = np.empty((pose.frames, 3, height, width), np.uint8)
    for i, frame in enumerate(joints):
        canvas = np.zeros((*size, 3), np.uint8)
        for joint, colour in zip(frame, COLOURS, strict=True):
            if joint[2] > 0:
                _draw_joint(canvas, joint, radius, np.array(colour, np.uint8))
        for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
            if frame[a, 2] > 0 and frame[b, 2] > 0:
                _draw_limb(canvas, frame[a], frame[b], stick_width, np.array(colour, np.uint16))
        if size != (height, width):
            canvas = np.asarray(Image.fromarray(canvas).resize((width, height), Image.Resampling.BILINEAR))
        images[i] = canvas.transpose(2, 0, 1)
    return images


def _draw_joint(canvas: np.ndarray, centre: np.ndarray, radius: float, colour: np.ndarray) -> None:
    """Fills the circle of the pixels whose centres are at most `radius` away."""
    rows, columns, dy, dx = _window(canvas, centre[1], centre[0], radius, radius)
    canvas[rows, columns][dx * dx + dy * dy <= radius * radius] = colour


def _draw_limb(
    canvas: np.ndarray, a: np.ndarray, b: np.ndarray, stick_width: float, colour: np.ndarray
) -> None:
    """Blends 60 % of `colour` into the ellipse whose long axis runs from a to b."""
    half = max(float(np.hypot(b[0] - a[0], b[1] - a[1])) / 2, 0.5)
    angle = np.arctan2(b[1] - a[1], b[0] - a[0])
    cos, sin = np.cos(angle), np.sin(angle)
    reach_x, reach_y = np.hypot(half * cos, stick_width * sin), np.hypot(half * sin, stick_width * cos)
    rows, columns, dy, dx = _window(canvas, (a[1] + b[1]) / 2, (a[0] + b[0]) / 2, reach_y, reach_x)
    along, across = (dx * cos + dy * sin) / half, (dy * cos - dx * sin) / stick_width
    inside = along * along + across * across <= 1
    window = canvas[rows, columns]
    # 0.4 old + 0.6 new, to the nearest level; fifths never tie.
    window[inside] = (2 * window[inside].astype(np.uint16) + 3 * colour + 2) // 5


def _window(
    canvas: np.ndarray, y: float, x: float, reach_y: float, reach_x: float
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Rows and columns of the canvas within reach of a point, and their offsets from it, (r, 1) and (1, c)."""
    top, left = max(int(np.floor(y - reach_y)), 0), max(int(np.floor(x - reach_x)), 0)
    bottom = max(min(int(np.ceil(y + reach_y)) + 1, canvas.shape[0]), top)
    right = max(min(int(np.ceil(x + reach_x)) + 1, canvas.shape[1]), left)
    dy, dx = np.arange(top, bottom)[:, None] - y, np.arange(left, right)[None] - x
    return slice(top, bottom), slice(left, right), dy, dx
