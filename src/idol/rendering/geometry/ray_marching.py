"""Where lines of sight meet a surface that is given by its depth.

A line starts near the camera and is followed away from it, in steps of a pixel or so, until the surface's own
1 / z at the place that it has come to is the line's; the last step is divided by the secant method. That is
known as relief mapping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from idol.rendering.geometry.rays import Lines
from idol.rendering.layers.matting import grown

_STEP = 1.5  # pixels of the clip between two looks at the surface
_MOST_STEPS = 48
_SHELL = 0.04  # thickness of surfaces, as a share of 1 / z
_SOLID = 0.3  # alpha from which a surface stops a line


@dataclass(frozen=True)
class Surface:
    """What lines may meet.

    Attributes:
        disparity: (h, w) 1 / meters.
        alpha: (h, w) in [0, 1]: what is not there is passed through.
        near: The largest 1 / meters where alpha is not 0.
        far: The smallest.
    """

    disparity: Float[Tensor, "h w"]
    alpha: Float[Tensor, "h w"]
    near: float
    far: float

    @classmethod
    def everywhere(cls, disparity: Float[Tensor, "h w"]) -> Surface:
        """One without gaps."""
        near, far = float(disparity.max()), float(disparity.min())
        return cls(disparity, torch.ones_like(disparity), near, far)


def sampled(
    image: Float[Tensor, "c h w"], places: Float[Tensor, "i j 2"], mode: str
) -> Float[Tensor, "c i j"]:
    """An image at places of `rays`; beyond its border it goes on as at the border."""
    return grid_sample(image[None], places[None], mode, "border", align_corners=False)[0]


def sampled_at(
    image: Float[Tensor, "c h w"], places: Float[Tensor, "2 n"], mode: str
) -> Float[Tensor, "c n"]:
    """The same in one row."""
    return sampled(image, places.T[None], mode)[:, 0]


def within_reach(lines: Lines, surface: Surface) -> Int[np.ndarray, " k"]:
    """Which lines may meet the surface: those that pass near enough to a part of it that is there."""
    middle, half = (surface.near + surface.far) / 2, (surface.near - surface.far) / 2
    x, y = (int(np.ceil(half * travel)) for travel in _pixels(lines, surface))
    return shown(lines.at(middle), surface, y, x)


def shown(
    places: Float[Tensor, "2 n"], surface: Surface, rows: int = 0, columns: int = 0
) -> Int[np.ndarray, " k"]:
    """Which places have a part of a surface that is there within so many pixels, or where sampling looks."""
    there = grown(surface.alpha, rows + 2, columns + 2)  # cubic interpolation looks at two to either side
    return np.flatnonzero(sampled_at(there[None], places, "nearest")[0].numpy() > 0)


def _pixels(lines: Lines, surface: Surface) -> tuple[float, float]:
    """By how many pixels of the clip, at most, a line moves to the side and upward per 1 / meter."""
    height, width = surface.alpha.shape
    x, y = (float(b.abs().max()) for b in lines.b)
    return x * width / 2, y * height / 2


def meet(lines: Lines, surface: Surface) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """1 / z at which each line first meets a surface, and whether it does.

    A surface is a shell, not a block: a line that is already far behind it passes on. So what is beside an
    arm is the background, not the arm's side. A line that passes behind a cliff *within* the person (an arm
    before the chest) meets the far side, at the last place where it was seen: the body has no cracks.

    Args:
        lines: One at least.
        surface: Of the clip.

    Returns:
        1 / z, the surface's farthest where nothing is met; and where the surface or its continuation is met.
    """
    near, far = surface.near * 1.001, surface.far * 0.999
    travel = max(_pixels(lines, surface)) * (near - far)
    steps = int(np.clip(np.ceil(travel / _STEP), 1, _MOST_STEPS))
    stride = (near - far) / steps
    both = torch.stack([surface.disparity, surface.alpha])
    n = lines.a.shape[1]
    found, settled, touched = np.full(n, far, np.float32), np.zeros(n, bool), np.zeros(n, bool)
    below_before, solid_before = np.full(n, -1, np.float32), np.zeros(n, bool)
    for q in np.linspace(near, far, steps + 1).tolist():
        level, cover = sampled_at(both, lines.at(q), "bilinear").numpy()
        below, solid = level - np.float32(q), cover > _SOLID
        shell = max(_SHELL * q, 2 * stride)
        behind = np.flatnonzero((below >= 0) & ~settled)
        depth, before, within = (each.take(behind) for each in (below, below_before, solid_before))
        crossed, met = before < 0, depth <= shell
        cliff = crossed & ~met & within
        emerged = met & within & (before > shell)  # from behind another part of the body
        real = (met & (crossed | emerged) & solid.take(behind)) | cliff
        soft = met & crossed & ~touched.take(behind)
        back = np.where(crossed, depth / np.maximum(depth - before, 1e-12), 0)
        hit = real | soft
        found[behind[hit]] = q + stride * np.where(cliff, 1, back)[hit]
        settled[behind[real]] = True
        touched[behind[soft]] = True
        below_before, solid_before = below, solid
    return torch.from_numpy(found), torch.from_numpy(settled | touched)
