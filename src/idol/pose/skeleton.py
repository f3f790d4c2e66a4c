"""Skeleton images, drawn in the style of OpenPose and DWPose."""

import colorsys
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idol.clip import Pose
from idol.pose.joints import WHOLEBODY_133, body_18

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""Pairs of joints of `OPENPOSE_18` that are drawn as limbs, in drawing order."""

COLORS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""RGB of joint i and of limb i."""

_FACE = slice(23, 91)
_HANDS = (slice(91, 112), slice(112, 133))
"""Rows of `WHOLEBODY_133`: 68 face points; 21 joints per hand, the wrist, then four per finger."""
_HAND_BONES = tuple(
    (0 if tip == 1 else base + tip - 1, base + tip) for base in range(0, 20, 4) for tip in (1, 2, 3, 4)
)
_HAND_COLORS = tuple(
    tuple(round(255 * c) for c in colorsys.hsv_to_rgb(i / len(_HAND_BONES), 1, 1))
    for i in range(len(_HAND_BONES))
)
_HAND_JOINT, _FACE_POINT = (0, 0, 255), (255, 255, 255)

Parts = Literal["body", "whole_body"]
"""The 18 body joints alone, or with hands and face."""


def draw(
    pose: Pose,
    height: int,
    width: int,
    *,
    stick_width: float = 4.0,
    radius: float = 4.0,
    at: Literal["source", "model"] = "source",
    parts: Parts = "body",
) -> UInt8[np.ndarray, "f 3 {height} {width}"]:
    """Draw skeletons in OpenPose's colors on black.

    Joints are filled circles; each limb is a filled ellipse from joint to joint on top of them, 60 % opaque.
    A joint of confidence 0 is not drawn, nor are its limbs. "whole_body" adds hands and face as DWPose draws
    them: finger bones in the colors of the rainbow, their joints blue, face points white.

    Args:
        pose: Joints of f frames.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        stick_width: Half the thickness of a limb in pixels.
        radius: Radius of a joint in pixels.
        at: "source" draws at the pose's own resolution and resizes the drawing, so that lines shrink with the
            frames; "model" draws at height x width with exactly the given line widths.
        parts: Which joints of a whole-body pose to draw; a pose of 18 joints has neither hands nor face.

    Returns:
        (f, 3, height, width) uint8 RGB.
    """
    size = (pose.height, pose.width) if at == "source" else (height, width)
    sized = pose.resized(*size)
    joints = body_18(sized).keypoints.astype(np.float64)
    whole = parts == "whole_body" and sized.keypoints.shape[1] == len(WHOLEBODY_133)
    images = np.empty((pose.frames, 3, height, width), np.uint8)
    for i, frame in enumerate(joints):
        canvas = np.zeros((*size, 3), np.uint8)
        for joint, color in zip(frame, COLORS, strict=True):
            if joint[2] > 0:
                _draw_joint(canvas, joint, radius, np.array(color, np.uint8))
        for (a, b), color in zip(LIMBS, COLORS, strict=False):
            if frame[a, 2] > 0 and frame[b, 2] > 0:
                _draw_limb(canvas, frame[a], frame[b], stick_width, np.array(color, np.uint16))
        if whole:
            _draw_hands_and_face(canvas, sized.keypoints[i].astype(np.float64), stick_width, radius)
        if size != (height, width):
            canvas = np.asarray(Image.fromarray(canvas).resize((width, height), Image.Resampling.BILINEAR))
        images[i] = canvas.transpose(2, 0, 1)
    return images


def _draw_hands_and_face(canvas: np.ndarray, joints: np.ndarray, stick_width: float, radius: float) -> None:
    """Draw hands and face as DWPose does: fingers 1/4 as thick as limbs, face points 3/4 of a joint."""
    for hand in (joints[rows] for rows in _HANDS):
        for (a, b), color in zip(_HAND_BONES, _HAND_COLORS, strict=True):
            if hand[a, 2] > 0 and hand[b, 2] > 0:
                _draw_line(canvas, hand[a], hand[b], stick_width / 4, np.array(color, np.uint8))
        for joint in hand[hand[:, 2] > 0]:
            _draw_joint(canvas, joint, radius, np.array(_HAND_JOINT, np.uint8))
    for point in joints[_FACE][joints[_FACE, 2] > 0]:
        _draw_joint(canvas, point, 0.75 * radius, np.array(_FACE_POINT, np.uint8))


def _draw_line(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, half: float, color: np.ndarray) -> None:
    """Fill the pixels within `half` pixels, but at least half a pixel, of the segment from a to b."""
    half = max(half, 0.5)
    reach = np.abs(b - a) / 2 + half
    rows, columns, dy, dx = _window(canvas, (a[1] + b[1]) / 2, (a[0] + b[0]) / 2, reach[1], reach[0])
    along = (b - a)[:2] / max(float(np.hypot(*(b - a)[:2])), 1e-9)
    length = float(np.hypot(*(b - a)[:2])) / 2
    beyond = np.maximum(np.abs(dx * along[0] + dy * along[1]) - length, 0)
    across = dy * along[0] - dx * along[1]
    canvas[rows, columns][beyond**2 + across**2 <= half * half] = color


def _draw_joint(canvas: np.ndarray, center: np.ndarray, radius: float, color: np.ndarray) -> None:
    """Fill the pixels whose centers are at most `radius` away."""
    # Only the pixels around the joint are tested.
    rows, columns, dy, dx = _window(canvas, center[1], center[0], radius, radius)
    canvas[rows, columns][dx * dx + dy * dy <= radius * radius] = color


def _draw_limb(
    canvas: np.ndarray, a: np.ndarray, b: np.ndarray, stick_width: float, color: np.ndarray
) -> None:
    """Blend 60 % of `color` into the ellipse whose long axis runs from a to b."""
    half = max(float(np.hypot(b[0] - a[0], b[1] - a[1])) / 2, 0.5)
    angle = np.arctan2(b[1] - a[1], b[0] - a[0])
    cos, sin = np.cos(angle), np.sin(angle)
    # Half-extents of the axis-aligned box around a rotated ellipse.
    reach_x, reach_y = np.hypot(half * cos, stick_width * sin), np.hypot(half * sin, stick_width * cos)
    rows, columns, dy, dx = _window(canvas, (a[1] + b[1]) / 2, (a[0] + b[0]) / 2, reach_y, reach_x)
    along, across = (dx * cos + dy * sin) / half, (dy * cos - dx * sin) / stick_width
    inside = along * along + across * across <= 1
    window = canvas[rows, columns]
    # 0.4 old + 0.6 new in integers, rounded to nearest: fifths never tie.
    window[inside] = (2 * window[inside].astype(np.uint16) + 3 * color + 2) // 5


def _window(
    canvas: np.ndarray, y: float, x: float, reach_y: float, reach_x: float
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Return rows and columns of the canvas within reach of a point, and their offsets (r, 1) and (1, c)."""
    top, left = max(int(np.floor(y - reach_y)), 0), max(int(np.floor(x - reach_x)), 0)
    bottom = max(min(int(np.ceil(y + reach_y)) + 1, canvas.shape[0]), top)
    right = max(min(int(np.ceil(x + reach_x)) + 1, canvas.shape[1]), left)
    dy, dx = np.arange(top, bottom)[:, None] - y, np.arange(left, right)[None] - x
    return slice(top, bottom), slice(left, right), dy, dx
