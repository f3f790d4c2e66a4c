"""The rays of another camera, and the places in the clip's own image that show what they meet.

Places are in the coordinates of torch's `grid_sample`: from -1 at one border of the clip's image to 1 at
the other, (0, 0) in its middle, where the axis of the clip's camera goes through. A point X in meters is seen
at

    s = k X_xy / X_z,   k = (2 f / w, 2 f / h).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from idol.rendering.geometry.camera import Camera, Plane, View

_AHEAD = 1e-3  # what is nearer along an axis than so many times the distance is taken to be there
_AXES = np.eye(3)
_WHOLE = slice(None)


@dataclass(frozen=True)
class Rays:
    """The rays r = (x, y, 1) through a grid of pixels of another camera.

    Attributes:
        x: (w,) of the columns, shifted as the camera's sensor is.
        y: (h,) of the rows.
        view: Where the camera stands and looks.
    """

    x: Float[Tensor, " w"]
    y: Float[Tensor, " h"]
    view: View

    @classmethod
    def through(
        cls,
        camera: Camera,
        view: View,
        rows: slice | Int[np.ndarray, " h"] = _WHOLE,
        columns: slice | Int[np.ndarray, " w"] = _WHOLE,
    ) -> Rays:
        """Those of some rows and columns of a camera's image, by default of all."""
        (cx, cy), focal = camera.center, camera.focal
        x = (np.arange(camera.width)[columns] - cx) / focal - view.shift
        y = (np.arange(camera.height)[rows] - cy) / focal
        return cls(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32)), view)

    def along(self, direction: Float[np.ndarray, " 3"]) -> Float[Tensor, "h w"]:
        """The dot products of the rays with a vector in the clip's axes."""
        right, down, forward = (float(v) for v in self.view.rotation @ direction)
        return (right * self.x + forward) + (down * self.y)[:, None]


@dataclass(frozen=True)
class Lines:
    """The lines s(q) = a + b q, q = 1 / z, that rays draw in the clip's image.

    Attributes:
        a: (2, n) x and y of where each ends, infinitely far away.
        b: (2, n) x and y, times meters.
    """

    a: Float[Tensor, "2 n"]
    b: Float[Tensor, "2 n"]

    def at(self, q: Float[Tensor, " n"] | float) -> Float[Tensor, "2 n"]:
        """The places of the points at z = 1 / q."""
        return (
            torch.add(self.a, self.b, alpha=q) if isinstance(q, float) else torch.addcmul(self.a, self.b, q)
        )

    def some(self, indices: Int[np.ndarray, " k"]) -> Lines:
        """A few of them."""
        # several times as fast as torch's own indexing
        a, b = (torch.from_numpy(each.numpy().take(indices, 1)) for each in (self.a, self.b))
        return Lines(a, b)


def scale_of(camera: Camera) -> tuple[float, float]:
    """The factors k of the clip's camera."""
    return 2 * camera.focal / camera.width, 2 * camera.focal / camera.height


def lines_of(rays: Rays, camera: Camera) -> Lines:
    """The lines that rays draw, row by row.

    With p the position of the rays' camera and D the ray's direction at z = 1, a point on it is
    p + (z - p_z) D: it is seen at k (D + (p - D p_z) q).

    Args:
        rays: Of h x w pixels; n = h w.
        camera: The clip's.
    """
    ahead = rays.along(_AXES[2]).clamp_min_(_AHEAD)
    p = [float(v) for v in rays.view.position]
    a = torch.empty(2, *ahead.shape)
    b = torch.empty_like(a)
    for i, k in enumerate(scale_of(camera)):
        torch.div(rays.along(k * _AXES[i]), ahead, out=a[i])
        torch.mul(a[i], -p[2], out=b[i]).add_(k * p[i])
    return Lines(a.flatten(1), b.flatten(1))


def places_on_stage(stage: Sequence[Plane], rays: Rays, camera: Camera) -> Float[Tensor, "h w 2"]:
    """The places of the points at which rays meet the nearest of the planes.

    A ray p + t r meets a plane at 1 / t = n r / (d - n p), so that the nearest is the one of the largest
    1 / t; rays that meet none end infinitely far away, at 1 / t = 0. The point over t is r + p / t.

    Args:
        stage: In meters.
        rays: Of h x w pixels.
        camera: The clip's.
    """
    p = rays.view.position
    nearest = torch.zeros(len(rays.y), len(rays.x))
    for plane in stage:
        away = plane.offset - float(plane.normal @ p)
        if away:  # a camera on the plane sees nothing of it
            torch.maximum(nearest, rays.along(plane.normal / away), out=nearest)
    ahead = rays.along(_AXES[2]).add_(nearest, alpha=float(p[2])).clamp_min_(_AHEAD)
    places = torch.empty(*nearest.shape, 2)
    for i, k in enumerate(scale_of(camera)):
        aside = rays.along(k * _AXES[i]).add_(nearest, alpha=k * float(p[i]))
        torch.div(aside, ahead, out=places[..., i])
    return places
