"""Intersection of rays with a surface that is given by a disparity map (relief mapping).

A ray starts near the camera and is marched away from it, in steps of about a pixel of the clip's image, until
the disparity of the surface at its current image coordinates reaches its own. The last step is refined by the
secant method. After Policarpo, Oliveira, Comba, "Real-time relief mapping on arbitrary polygonal surfaces",
I3D 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from idol.rendering.geometry.rays import EpipolarLines
from idol.rendering.layers.matting import dilate

_STEP = 1.5  # pixels of the clip's image per marching step
_MAX_STEPS = 48
_SHELL = 0.04  # thickness of surfaces, as a fraction of 1 / z
_SOLID = 0.3  # alpha from which a surface stops a line for good


@dataclass(frozen=True)
class Surface:
    """A disparity map with coverage, which rays can hit.

    Attributes:
        disparity: (h, w) 1 / meters.
        alpha: (h, w) coverage in [0, 1]; rays pass through where it is 0.
        near: Largest disparity where alpha is not 0.
        far: Smallest disparity where alpha is not 0.
    """

    disparity: Float[Tensor, "h w"]
    alpha: Float[Tensor, "h w"]
    near: float
    far: float

    @classmethod
    def everywhere(cls, disparity: Float[Tensor, "h w"]) -> Surface:
        """Return a surface that covers every pixel.

        Args:
            disparity: (h, w) 1 / meters.
        """
        near, far = float(disparity.max()), float(disparity.min())
        return cls(disparity, torch.ones_like(disparity), near, far)


def sample_image(
    image: Float[Tensor, "c h w"], coords: Float[Tensor, "i j 2"], mode: str
) -> Float[Tensor, "c i j"]:
    """Sample an image on a grid; coordinates outside the image read its border.

    Args:
        image: Any channels.
        coords: (x, y) image coordinates in [-1, 1], see `rays`.
        mode: Interpolation of `grid_sample`: "nearest", "bilinear" or "bicubic".
    """
    return grid_sample(image[None], coords[None], mode, "border", align_corners=False)[0]


def sample_points(
    image: Float[Tensor, "c h w"], coords: Float[Tensor, "2 n"], mode: str
) -> Float[Tensor, "c n"]:
    """Sample an image at a list of points; coordinates outside the image read its border.

    Args:
        image: Any channels.
        coords: x and y image coordinates in [-1, 1], see `rays`.
        mode: Interpolation of `grid_sample`: "nearest", "bilinear" or "bicubic".
    """
    return sample_image(image, coords.T[None], mode)[:, 0]


def lines_near_surface(lines: EpipolarLines, surface: Surface) -> Int[np.ndarray, " k"]:
    """Return the indices of the lines that may hit the surface, to march only those.

    Args:
        lines: Candidate lines.
        surface: Surface of the clip.
    """
    # between the surface's disparities a line stays within this margin of its point at the middle one
    middle, half = (surface.near + surface.far) / 2, (surface.near - surface.far) / 2
    x, y = (int(np.ceil(half * travel)) for travel in _pixels(lines, surface))
    return near_surface(lines.at(middle), surface, y, x)


def near_surface(
    coords: Float[Tensor, "2 n"], surface: Surface, rows: int = 0, columns: int = 0
) -> Int[np.ndarray, " k"]:
    """Return the indices of the points that have covered surface in their neighborhood.

    Args:
        coords: x and y image coordinates in [-1, 1].
        surface: Surface of the clip.
        rows: Extra vertical margin in pixels.
        columns: Extra horizontal margin in pixels.
    """
    covered = dilate(surface.alpha, rows + 2, columns + 2)  # bicubic sampling reads two pixels to either side
    return np.flatnonzero(sample_points(covered[None], coords, "nearest")[0].numpy() > 0)


def _pixels(lines: EpipolarLines, surface: Surface) -> tuple[float, float]:
    """Return the largest horizontal and vertical motion of any line, in pixels of the clip per 1 / meter."""
    height, width = surface.alpha.shape
    x, y = (float(b.abs().max()) for b in lines.b)
    return x * width / 2, y * height / 2  # the image is 2 wide and 2 high in image coordinates


def intersect_surface(
    lines: EpipolarLines, surface: Surface
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Return the disparity at which each line first hits a surface, and whether it does.

    A surface is a thin shell, not a solid: a line that is already far behind it passes on, so that the area
    beside an arm shows the background and not the side of the arm. A line that passes behind a depth
    discontinuity *within* the person (an arm in front of the chest) hits the far side, at the last position
    where that was visible: the body has no holes.

    Args:
        lines: At least one line.
        surface: Surface of the clip.

    Returns:
        Disparity in 1 / meters, the surface's farthest where nothing is hit; and whether the surface, or its
        extrapolation beyond the silhouette, is hit.
    """
    near, far = surface.near * 1.001, surface.far * 0.999  # start in front of the surface, end behind it
    travel = max(_pixels(lines, surface)) * (near - far)
    steps = int(np.clip(np.ceil(travel / _STEP), 1, _MAX_STEPS))
    stride = (near - far) / steps
    both = torch.stack([surface.disparity, surface.alpha])  # 2 h w: sampled together
    n = lines.a.shape[1]
    # settled: hit covered surface, final; touched: hit its extrapolation, which a later hit replaces
    found, settled, touched = np.full(n, far, np.float32), np.zeros(n, bool), np.zeros(n, bool)
    below_before, solid_before = np.full(n, -1, np.float32), np.zeros(n, bool)
    for q in np.linspace(near, far, steps + 1).tolist():
        level, cover = sample_points(both, lines.at(q), "bilinear").numpy()
        below, solid = level - np.float32(q), cover > _SOLID  # below >= 0: the line is behind the surface
        shell = max(_SHELL * q, 2 * stride)  # no thinner than two steps, or lines would jump over it
        behind = np.flatnonzero((below >= 0) & ~settled)
        depth, before, within = (each.take(behind) for each in (below, below_before, solid_before))
        crossed, in_shell = before < 0, depth <= shell
        cliff = crossed & ~in_shell & within  # the surface jumped forward: the last step saw the far side
        emerged = in_shell & within & (before > shell)  # from behind another part of the body
        real = (in_shell & (crossed | emerged) & solid.take(behind)) | cliff
        soft = in_shell & crossed & ~touched.take(behind)
        # secant method: the fraction of the step by which the line overshot the surface
        back = np.where(crossed, depth / np.maximum(depth - before, 1e-12), 0)
        hit = real | soft
        found[behind[hit]] = q + stride * np.where(cliff, 1, back)[hit]
        settled[behind[real]] = True
        touched[behind[soft]] = True
        below_before, solid_before = below, solid
    return torch.from_numpy(found), torch.from_numpy(settled | touched)
