"""Crops for estimators: cut a rotated window out of an image and map results back; operations on boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float = NDArray[np.float32]


@dataclass(frozen=True)
class CropTransform:
    """A rotated rectangle of an image and the upright crop that an estimator receives of it.

    Attributes:
        center: x, y of the rectangle's center in pixels of the image.
        size: Width and height of the rectangle in pixels of the image.
        width: Width of the crop in pixels.
        height: Height of the crop in pixels.
        angle: Rotation in radians, clockwise as displayed.
    """

    center: tuple[float, float]
    size: tuple[float, float]
    width: int
    height: int
    angle: float = 0.0

    def matrix(self) -> NDArray[np.float64]:
        """Return the (2, 3) affine map from crop to image; (0, 0) is the corner of the first pixel."""
        scale = np.diag([self.size[0] / self.width, self.size[1] / self.height])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        linear = np.array([[cos, -sin], [sin, cos]]) @ scale
        middle = np.array([self.width / 2, self.height / 2])
        return np.column_stack([linear, np.asarray(self.center) - linear @ middle])

    def to_image(self, points: NDArray) -> Float:
        """Map points (..., 2) of the crop to the image; (0, 0) is the center of the first pixel."""
        matrix = self.matrix()
        return ((points + 0.5) @ matrix[:, :2].T + matrix[:, 2] - 0.5).astype(np.float32)

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop an image (3, h, w) uint8 to (height, width, 3) uint8; black outside the image."""
        source, matrix = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), self.matrix()
        # Bilinear sampling would alias where the window is much larger than the crop: average first.
        factor = max(1, int(min(self.size[0] / self.width, self.size[1] / self.height)))
        if factor > 1:
            source, matrix = source.reduce(factor), matrix / factor
        return np.asarray(
            source.transform(
                (self.width, self.height),
                Image.Transform.AFFINE,
                tuple(matrix.ravel()),
                Image.Resampling.BILINEAR,
            )
        )

    def paste(self, small: Float, height: int, width: int) -> Float:
        """Map values of the crop back to the image.

        Args:
            small: (self.height, self.width) float32.
            height: Height of the image in pixels.
            width: Width of the image in pixels.

        Returns:
            (height, width) float32; 0 outside the window.
        """
        matrix = np.vstack([self.matrix(), [0, 0, 1]])
        # Pillow maps output to input pixels, hence the inverse.
        inverse = np.linalg.inv(matrix)[:2]
        back = Image.fromarray(small).transform(
            (width, height), Image.Transform.AFFINE, tuple(inverse.ravel()), Image.Resampling.BILINEAR
        )
        return np.asarray(back)


def crop_around(box: Float, width: int, height: int, margin: float) -> CropTransform:
    """Return the crop around a box, extended to the aspect ratio of the crop.

    Args:
        box: (4,) x0, y0, x1, y1 in pixels of the image.
        width: Width of the crop in pixels.
        height: Height of the crop in pixels.
        margin: Factor by which the box is enlarged first.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    w, h = max(x1 - x0, 1.0) * margin, max(y1 - y0, 1.0) * margin
    # Grow the shorter side, so that the whole box stays inside.
    w, h = max(w, h * width / height), max(h, w * height / width)
    return CropTransform(((x0 + x1) / 2, (y0 + y1) / 2), (w, h), width, height)


def letterbox(image: NDArray[np.uint8], size: int, fill: int) -> tuple[NDArray[np.uint8], float]:
    """Resize an image into the top-left corner of a square.

    Args:
        image: (3, h, w) uint8.
        size: Side of the square in pixels.
        fill: Gray level of the remaining area, 0 to 255.

    Returns:
        (size, size, 3) uint8, and the scale factor of the image.
    """
    _, height, width = image.shape
    scale = min(size / height, size / width)
    new = max(1, round(width * scale)), max(1, round(height * scale))
    source = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    square = np.full((size, size, 3), fill, np.uint8)
    square[: new[1], : new[0]] = np.asarray(source.resize(new, Image.Resampling.BILINEAR))
    return square, scale


def box_iou(a: Float, b: Float) -> Float:
    """Compute the intersection over union of boxes.

    Args:
        a: (n, 4) x0, y0, x1, y1.
        b: (k, 4) x0, y0, x1, y1.

    Returns:
        (n, k) float32 in [0, 1].
    """
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (
        np.clip(a[:, 2:] - a[:, :2], 0, None).prod(-1),
        np.clip(b[:, 2:] - b[:, :2], 0, None).prod(-1),
    )
    union = area_a[:, None] + area_b[None] - common
    return (common / np.maximum(union, 1e-9)).astype(np.float32)


def non_max_suppression(boxes: Float, scores: Float, limit: float) -> NDArray[np.int64]:
    """Select boxes by greedy non-maximum suppression.

    Args:
        boxes: (n, 4) x0, y0, x1, y1.
        scores: (n,).
        limit: Largest intersection over union of two selected boxes.

    Returns:
        Indices of the selected boxes, best score first.
    """
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[box_iou(boxes[best : best + 1], boxes[left])[0] <= limit]
    return np.array(kept, np.int64)
