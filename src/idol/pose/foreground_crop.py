"""The square crop of the person: the input of the foreground encoder."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from idol.clip import Pose

GRAY = 127
"""Gray level outside the person: 0 in [-1, 1], to the nearest 8-bit level."""


class ForegroundCrop(NamedTuple):
    """A person cut out and centered in a square.

    Attributes:
        image: (3, s, s) uint8, gray outside the person.
        mask: (s, s) bool: the person.
        pose: The joints in pixels of the crop.
    """

    image: np.ndarray
    mask: np.ndarray
    pose: Pose


def foreground_crop(
    image: UInt8[np.ndarray, "3 h w"],
    mask: Bool[np.ndarray, "h w"],
    pose: Pose,
    size: int,
    margin: float = 0.1,
) -> ForegroundCrop:
    """Crop a square centered on the person, with the aspect ratio kept and everything else gray.

    Args:
        image: (3, h, w) uint8 sRGB.
        mask: (h, w) bool: the person.
        pose: The person's joints in pixels of the image, one frame.
        size: Side of the crop in pixels.
        margin: Room on each side, as a share of the longer side of the person's bounding box.

    Returns:
        The crop, its mask and its pose. Joints may lie outside the crop if the mask does not cover them.

    Raises:
        ValueError: If the mask is empty or the pose does not belong to the image.
    """
    if pose.frames != 1 or (pose.height, pose.width) != mask.shape:
        found = f"{pose.frames} frames of {pose.height} x {pose.width}"
        raise ValueError(f"pose: found {found}, expected 1 of {mask.shape[0]} x {mask.shape[1]}")
    x0, y0, side = bounding_square(mask, margin)
    window = np.full((side, side, 3), GRAY, np.uint8)
    inside = np.zeros((side, side), np.uint8)
    top, left = max(y0, 0), max(x0, 0)
    bottom, right = min(y0 + side, mask.shape[0]), min(x0 + side, mask.shape[1])
    person = mask[top:bottom, left:right]
    target = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
    # Cut out before resizing, so that no color of the old background bleeds over the edge.
    window[target][person] = image[:, top:bottom, left:right].transpose(1, 2, 0)[person]
    inside[target][person] = 255
    # h w 3; bicubic overshoots at the edge, which the mask below cuts off
    pixels = np.asarray(Image.fromarray(window).resize((size, size), Image.Resampling.BICUBIC))
    kept = np.asarray(Image.fromarray(inside).resize((size, size), Image.Resampling.BILINEAR)) >= 128
    crop = np.full((3, size, size), GRAY, np.uint8)
    crop[:, kept] = pixels[kept].T
    return ForegroundCrop(crop, kept, pose.cropped(x0, y0, x0 + side, y0 + side).resized(size, size))


def bounding_square(mask: Bool[np.ndarray, "h w"], margin: float) -> tuple[int, int, int]:
    """Return the smallest square around the mask and its margin; it may extend beyond the image.

    Args:
        mask: (h, w) bool.
        margin: Room on each side, as a share of the longer side of the mask's bounding box.

    Returns:
        x0, y0 of the top-left corner and the side, in pixels.

    Raises:
        ValueError: If the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("mask: found no person, expected at least one pixel")
    height, width = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
    side = int(np.ceil(max(height, width) * (1 + 2 * margin)))
    # Edges lie half a pixel outside the centers of the first and last pixel, hence + 1.
    x0 = round((int(columns[0]) + int(columns[-1]) + 1 - side) / 2)
    y0 = round((int(rows[0]) + int(rows[-1]) + 1 - side) / 2)
    return x0, y0, side
