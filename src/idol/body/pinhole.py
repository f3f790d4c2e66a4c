"""The camera that avatars are seen through: a pinhole at the origin, Y up, looking along -Z, meters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

ASSUMED_FIELD = 38.0
"""Degrees from top to bottom of a photo whose camera is unknown."""


@dataclass(frozen=True)
class PinholeCamera:
    """A camera that stands still; what it looks at is moved instead.

    Attributes:
        focal: Focal length in pixels.
        center_x: Column of the principal point; 0 is the center of the first pixel.
        center_y: Row of the principal point.
        height: Rows of the image.
        width: Columns of the image.
    """

    focal: float
    center_x: float
    center_y: float
    height: int
    width: int

    @classmethod
    def assumed(cls, height: int, width: int, field: float = ASSUMED_FIELD) -> PinholeCamera:
        """Return the camera that an image of unknown origin is taken to come from.

        Args:
            height: Rows of the image.
            width: Columns of the image.
            field: Degrees from top to bottom.
        """
        focal = 0.5 * height / np.tan(np.radians(field / 2))
        return cls(float(focal), (width - 1) / 2, (height - 1) / 2, height, width)

    def resized(self, height: int, width: int) -> PinholeCamera:
        """Return the camera of the same view in another number of pixels.

        Args:
            height: Rows of the new image.
            width: Columns of the new image, in the old proportions.
        """
        by = height / self.height
        x, y = (self.center_x + 0.5) * width / self.width - 0.5, (self.center_y + 0.5) * by - 0.5
        return PinholeCamera(self.focal * by, x, y, height, width)

    def cropped(self, x0: int, y0: int, x1: int, y1: int) -> PinholeCamera:
        """Return the camera of a window, whose edges are whole pixels and may lie outside the image."""
        moved = replace(self, center_x=self.center_x - x0, center_y=self.center_y - y0)
        return replace(moved, height=y1 - y0, width=x1 - x0)

    def project(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Return column and row in pixels and the distance along the view axis in meters.

        Args:
            points: In meters, before the camera (Z below 0).
        """
        distance = -points[..., 2]
        scale = self.focal / distance
        x, y = self.center_x + scale * points[..., 0], self.center_y - scale * points[..., 1]
        return np.stack([x, y, distance], -1)

    def unproject(self, seen: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Return the points in meters that `project` sends to these.

        Args:
            seen: Column and row in pixels, distance in meters.
        """
        scale = seen[..., 2] / self.focal
        x, y = (seen[..., 0] - self.center_x) * scale, (self.center_y - seen[..., 1]) * scale
        return np.stack([x, y, -seen[..., 2]], -1)
