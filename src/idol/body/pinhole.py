"""The pinhole camera of avatars: at the origin, Y up, looking along -Z, meters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

ASSUMED_FIELD = 38.0
"""Vertical field of view, in degrees, of a photo whose camera is unknown."""


@dataclass(frozen=True)
class PinholeCamera:
    """A camera at the origin.

    Attributes:
        focal: Focal length in pixels.
        center_x: Column of the principal point; 0 is the center of the first pixel.
        center_y: Row of the principal point.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """

    focal: float
    center_x: float
    center_y: float
    height: int
    width: int

    @classmethod
    def assumed(cls, height: int, width: int, field: float = ASSUMED_FIELD) -> PinholeCamera:
        """Return the camera that is assumed for an image whose camera is unknown.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.
            field: Vertical field of view in degrees.
        """
        focal = 0.5 * height / np.tan(np.radians(field / 2))
        return cls(float(focal), (width - 1) / 2, (height - 1) / 2, height, width)

    def resized(self, height: int, width: int) -> PinholeCamera:
        """Return the camera of the image after resizing.

        Args:
            height: Height of the resized image in pixels.
            width: Width of the resized image in pixels; the aspect ratio is kept.
        """
        by = height / self.height
        x, y = (self.center_x + 0.5) * width / self.width - 0.5, (self.center_y + 0.5) * by - 0.5
        return PinholeCamera(self.focal * by, x, y, height, width)

    def cropped(self, x0: int, y0: int, x1: int, y1: int) -> PinholeCamera:
        """Return the camera of a window of the image, which may extend beyond it.

        Args:
            x0: First column.
            y0: First row.
            x1: Column after the last one.
            y1: Row after the last one.
        """
        moved = replace(self, center_x=self.center_x - x0, center_y=self.center_y - y0)
        return replace(moved, height=y1 - y0, width=x1 - x0)

    def project(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Project points to column and row in pixels, and distance along the optical axis in meters.

        Args:
            points: Points in meters, in front of the camera (Z below 0).
        """
        distance = -points[..., 2]
        scale = self.focal / distance
        x, y = self.center_x + scale * points[..., 0], self.center_y - scale * points[..., 1]
        return np.stack([x, y, distance], -1)

    def unproject(self, seen: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Invert `project`.

        Args:
            seen: Column and row in pixels, distance along the optical axis in meters.

        Returns:
            Points in meters.
        """
        scale = seen[..., 2] / self.focal
        x, y = (seen[..., 0] - self.center_x) * scale, (self.center_y - seen[..., 1]) * scale
        return np.stack([x, y, -seen[..., 2]], -1)
