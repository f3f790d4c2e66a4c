"""Color constancy of the clothes: mean colors of shirt and trousers against the first reference frame."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from idol.clip import Pose
from idol.pose.joints import body_18

Garment = Literal["shirt", "trousers"]

_SHOULDERS, _HIPS = (2, 5), (8, 11)
_THIGHS = ((8, 9), (11, 12))  # hip, knee
_ARMS = ((2, 3), (3, 4), (5, 6), (6, 7))  # shoulder, elbow; elbow, wrist
_LEAST = 12  # pixels without which a frame says nothing

# Half the width of the strip that is looked at, over its bone's length: narrow enough to stay on the garment
# when the person is seen from the side, wide enough for a mean.
_TORSO_WIDTH, _THIGH_WIDTH = 0.18, 0.12
_ARM_WIDTH = 0.2  # arms in front of the garment are left out

# Linear sRGB to XYZ over the white of D65 (IEC 61966-2-1).
_XYZ = np.array(
    [
        [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
    ]
)


def garment_region(
    pose: Pose, mask: Bool[np.ndarray, "f h w"], garment: Garment
) -> Bool[np.ndarray, "f h w"]:
    """Return the pixels that surely show a garment: strips along the spine or the thighs, within the person.

    The shirt's strip covers a quarter to three quarters of the way from neck to hips; the trousers' strips
    cover a fifth to three fifths of the way from hip to knee, which shorts and skirts reach. Arms and hands
    are left out. The region of a frame with missing joints is empty.

    Args:
        pose: The person's joints, in pixels of the mask.
        mask: The person.
        garment: Which garment.
    """
    joints = body_18(pose).keypoints
    strips = np.zeros_like(mask)
    for i, frame in enumerate(joints):
        image = Image.new("1", mask.shape[:0:-1])
        strokes = [(corners, 1) for corners in _strips(frame, garment)]
        for corners, fill in [*strokes, *((corners, 0) for corners in _arms(frame))]:
            ImageDraw.Draw(image).polygon([tuple(c) for c in corners.tolist()], fill=fill)
        strips[i] = np.asarray(image)
    return strips & mask


def mean_color(
    video: UInt8[np.ndarray, "f 3 h w"], where: Bool[np.ndarray, "f h w"]
) -> Float[np.ndarray, "f 3"]:
    """Return the CIE Lab color of the mean, in linear light, of each frame's region.

    Args:
        video: sRGB frames.
        where: The region.

    Returns:
        (f, 3); NaN for a frame whose region has fewer than 12 pixels.
    """
    colors = np.full((len(video), 3), np.nan)
    for i, (frame, inside) in enumerate(zip(video, where, strict=True)):
        if inside.sum() >= _LEAST:
            colors[i] = lab_of_linear(_linear(frame[:, inside]).mean(1))
    return colors


def color_error(
    video: UInt8[np.ndarray, "f 3 h w"],
    where: Bool[np.ndarray, "f h w"],
    reference_color: Float[np.ndarray, " 3"],
) -> float:
    """Return the mean CIE76 distance (Delta E; about 2 is just visible) of a garment's color.

    Args:
        video: The generated clip.
        where: The garment's region in the reference clip, so that a misplaced garment counts as an error.
        reference_color: (3,) Lab color of the garment in the first reference frame.

    Returns:
        The mean over the frames that show the garment; NaN if none does.
    """
    distances = np.linalg.norm(mean_color(video, where) - reference_color, axis=1)
    seen = distances[np.isfinite(distances)]
    return float(seen.mean()) if seen.size else float("nan")


def lab_of_linear(rgb: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Return CIE Lab (D65) of linear sRGB in [0, 1]."""
    xyz = rgb @ _XYZ.T
    curve = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(curve, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _linear(levels: np.ndarray) -> np.ndarray:
    value = levels / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _strips(joints: np.ndarray, garment: Garment) -> list[np.ndarray]:
    """Return rectangles (4, 2) of x, y along the bones that the garment covers."""
    if garment == "shirt":
        if (joints[[*_SHOULDERS, *_HIPS], 2] <= 0).any():
            return []
        neck, hips = joints[list(_SHOULDERS), :2].mean(0), joints[list(_HIPS), :2].mean(0)
        return [_strip(neck, hips, 0.25, 0.75, _TORSO_WIDTH)]
    seen = [(a, b) for a, b in _THIGHS if joints[a, 2] > 0 and joints[b, 2] > 0]
    return [_strip(joints[a, :2], joints[b, :2], 0.2, 0.6, _THIGH_WIDTH) for a, b in seen]


def _arms(joints: np.ndarray) -> list[np.ndarray]:
    """Return rectangles over the arms.

    The upper one starts below the shoulder, the lower one covers the hand.
    """
    seen = [(a, b) for a, b in _ARMS if joints[a, 2] > 0 and joints[b, 2] > 0]
    return [_strip(joints[a, :2], joints[b, :2], 0.3, 1.3, _ARM_WIDTH) for a, b in seen]


def _strip(a: np.ndarray, b: np.ndarray, start: float, end: float, width: float) -> np.ndarray:
    along = b - a
    across = np.array([-along[1], along[0]]) * width
    first, last = a + start * along, a + end * along
    return np.stack([first + across, first - across, last - across, last + across])
