"""The pinhole camera of synthetic scenes: right-handed, Y up, looking along -Z of its own frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NEAR, FAR = 0.1, 60.0  # clipping planes in meters
SKY = 1000.0  # meters: the depth of the sky, where a finite value is needed


@dataclass(frozen=True)
class SceneCamera:
    """A pinhole camera with a square image.

    Attributes:
        eye: (3,) position in meters.
        view: (4, 4) transform from world to camera.
        focal: Focal length in pixels of the image.
        size: Height and width of the image in pixels.
    """

    eye: np.ndarray
    view: np.ndarray
    focal: float
    size: int

    @property
    def projection(self) -> Float[np.ndarray, "4 4"]:
        """(4, 4) transform from camera to clip space, in OpenGL's convention."""
        f = 2 * self.focal / self.size
        depth = (FAR + NEAR) / (NEAR - FAR), 2 * FAR * NEAR / (NEAR - FAR)
        return np.array([[f, 0, 0, 0], [0, f, 0, 0], [0, 0, *depth], [0, 0, -1, 0]])

    @property
    def rays(self) -> Float[np.ndarray, "{self.size} {self.size} 3"]:
        """(s, s, 3) world directions through the centers of the pixels, of length 1 along the view axis."""
        y, x = np.mgrid[0 : self.size, 0 : self.size]
        center = self.size / 2 - 0.5
        local = np.stack([(x - center) / self.focal, (center - y) / self.focal, -np.ones(x.shape)], -1)
        return local @ self.view[:3, :3]

    def project(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Project points to the image.

        Args:
            points: (..., 3) in meters, world coordinates.

        Returns:
            (..., 3): x, y in pixels ((0, 0) is the center of the first pixel) and z in meters.
        """
        seen = points @ self.view[:3, :3].T + self.view[:3, 3]
        z = -seen[..., 2]
        center = self.size / 2 - 0.5
        x, y = center + self.focal * seen[..., 0] / z, center - self.focal * seen[..., 1] / z
        return np.stack([x, y, z], -1)


def look_at(eye: Float[np.ndarray, " 3"], target: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "4 4"]:
    """Return the (4, 4) view matrix of an upright camera.

    Args:
        eye: (3,) position of the camera in meters.
        target: (3,) point it looks at.
    """
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, np.cross(back, right), back])
    view[:3, 3] = -view[:3, :3] @ eye
    return view


def orthographic(half: float, near: float, far: float) -> Float[np.ndarray, "4 4"]:
    """Return the (4, 4) orthographic projection of a box, for shadow maps.

    Args:
        half: Half the width and height of the box in meters.
        near: Distance of its near side.
        far: Distance of its far side.
    """
    return np.array(
        [
            [1 / half, 0, 0, 0],
            [0, 1 / half, 0, 0],
            [0, 0, -2 / (far - near), -(far + near) / (far - near)],
            [0, 0, 0, 1],
        ]
    )
