"""Rays of a novel camera, and where the clip's own camera sees the points they pass through.

Image coordinates are those of torch's `grid_sample`: from -1 to 1 over the clip's image, (0, 0) in its
middle, where the optical axis of the clip's camera is. A point X in meters projects to

    s = k X_xy / X_z,   k = (2 f / w, 2 f / h),

with f the focal length in pixels. Depth is handled as disparity q = 1 / z: along a ray, s is linear in q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from idol.rendering.geometry.camera import Camera, Plane, View

_MIN_FORWARD = 1e-3  # smallest z component of a ray, to avoid dividing by 0 where it points sideways
_AXES = np.eye(3)
_ALL = slice(None)


@dataclass(frozen=True)
class Rays:
    """Rays r = (x, y, 1) through a grid of pixels of a novel camera, in that camera's axes.

    Attributes:
        x: (w,) horizontal slope of each column, with the lens shift applied.
        y: (h,) vertical slope of each row.
        view: Position and orientation of the camera.
    """

    x: Float[Tensor, " w"]
    y: Float[Tensor, " h"]
    view: View

    @classmethod
    def from_camera(
        cls,
        camera: Camera,
        view: View,
        rows: slice | Int[np.ndarray, " h"] = _ALL,
        columns: slice | Int[np.ndarray, " w"] = _ALL,
    ) -> Rays:
        """Return the rays through some rows and columns of a camera's image.

        Args:
            camera: Field of view and image size.
            view: Position and orientation.
            rows: Rows of the image, all by default.
            columns: Columns of the image, all by default.
        """
        (cx, cy), focal = camera.center, camera.focal
        # in double precision first: float32 steps would show as jitter in slow moves
        x = (np.arange(camera.width)[columns] - cx) / focal - view.shift
        y = (np.arange(camera.height)[rows] - cy) / focal
        return cls(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32)), view)

    def dot(self, direction: Float[np.ndarray, " 3"]) -> Float[Tensor, "h w"]:
        """Return the dot product of every ray with a vector.

        Args:
            direction: (3,) vector in the axes of the clip's camera.
        """
        # rotate the one vector into the camera's axes instead of all rays into the clip's
        right, down, forward = (float(v) for v in self.view.rotation @ direction)
        return (right * self.x + forward) + (down * self.y)[:, None]


@dataclass(frozen=True)
class EpipolarLines:
    """Epipolar lines s(q) = a + b q, q = 1 / z, that rays trace in the clip's image.

    Attributes:
        a: (2, n) x and y of each line at infinite depth.
        b: (2, n) x and y slope, in image coordinates times meters.
    """

    a: Float[Tensor, "2 n"]
    b: Float[Tensor, "2 n"]

    def at(self, q: Float[Tensor, " n"] | float) -> Float[Tensor, "2 n"]:
        """Return the image coordinates of the points at z = 1 / q.

        Args:
            q: Disparity in 1 / meters, one per line or one for all.
        """
        return (
            torch.add(self.a, self.b, alpha=q) if isinstance(q, float) else torch.addcmul(self.a, self.b, q)
        )

    def select(self, indices: Int[np.ndarray, " k"]) -> EpipolarLines:
        """Return some of the lines.

        Args:
            indices: (k,) indices of the lines.
        """
        # numpy's take is several times as fast as torch's indexing here
        a, b = (torch.from_numpy(each.numpy().take(indices, 1)) for each in (self.a, self.b))
        return EpipolarLines(a, b)


def normalized_focal(camera: Camera) -> tuple[float, float]:
    """Return the factors k = (2 f / w, 2 f / h) of a camera."""
    return 2 * camera.focal / camera.width, 2 * camera.focal / camera.height


def epipolar_lines(rays: Rays, camera: Camera) -> EpipolarLines:
    """Return the epipolar lines of rays, in row-major order.

    With p the position of the rays' camera and D the direction of a ray scaled to z = 1, a point on the ray
    is p + (z - p_z) D, which projects to k (D + (p - D p_z) q).

    Args:
        rays: Rays of h x w pixels; there are n = h w lines.
        camera: The clip's camera.
    """
    forward = rays.dot(_AXES[2]).clamp_min_(_MIN_FORWARD)
    p = [float(v) for v in rays.view.position]
    a = torch.empty(2, *forward.shape)
    b = torch.empty_like(a)
    for i, k in enumerate(normalized_focal(camera)):
        torch.div(rays.dot(k * _AXES[i]), forward, out=a[i])
        torch.mul(a[i], -p[2], out=b[i]).add_(k * p[i])
    return EpipolarLines(a.flatten(1), b.flatten(1))


def intersect_planes(planes: Sequence[Plane], rays: Rays, camera: Camera) -> Float[Tensor, "h w 2"]:
    """Return the image coordinates of the points at which rays hit the nearest of several planes.

    A ray p + t r hits a plane at 1 / t = n · r / (d - n · p), so the nearest plane has the largest 1 / t;
    rays that hit no plane end at infinity, 1 / t = 0. The point divided by t is r + p / t.

    Args:
        planes: Planes in the axes of the clip's camera.
        rays: Rays of h x w pixels.
        camera: The clip's camera.
    """
    p = rays.view.position
    nearest = torch.zeros(len(rays.y), len(rays.x))  # 1 / t of the nearest plane so far
    for plane in planes:
        distance = plane.offset - float(plane.normal @ p)  # signed, from the rays' camera
        if distance:  # a camera on the plane sees nothing of it
            torch.maximum(nearest, rays.dot(plane.normal / distance), out=nearest)
    forward = rays.dot(_AXES[2]).add_(nearest, alpha=float(p[2])).clamp_min_(_MIN_FORWARD)
    coords = torch.empty(*nearest.shape, 2)
    for i, k in enumerate(normalized_focal(camera)):
        sideways = rays.dot(k * _AXES[i]).add_(nearest, alpha=k * float(p[i]))
        torch.div(sideways, forward, out=coords[..., i])
    return coords
