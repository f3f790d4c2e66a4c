"""One frame seen by another camera.

For each output pixel we look for the point of a layer that is seen there (inverse warping): nothing is
splatted, so there are no cracks to fill. A ray of the other camera, followed from near to far, draws a
straight line in the clip's own picture, and the place on it is linear in q = 1 / z:

    s(q) = A + B q,   A = f D + c,   B = f (p - D p_z)

with D the ray's direction at z = 1, p the other camera's position, both in the clip's axes. A plane is met at
a q that is known in closed form (then s is the homography that the plane induces). The person is met where
its own 1 / z at s(q) is q: that is found by steps of a pixel or so and one of the secant method, which is
known as relief mapping.

Sampling is torch's, which needs no extra package. In a one-off comparison OpenCV's remap was a little faster,
but it rounds places to 1 / 32 pixel, which jitters in slow moves; a depth mesh in OpenGL on the processor was
several times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from idol.render.frames import each_frame
from idol.render.space import Camera, Layers, Plane, View

_STEP = 1.5  # pixels of the clip between two looks at the surface
_MOST_STEPS = 48
_SHELL = 0.04  # thickness of surfaces, as a share of 1 / z
_SOLID = 0.3  # alpha from which a surface stops a line
_MOST_ZOOM = 1.5


@dataclass(frozen=True)
class _Lines:
    """s(q) = A + B q of output pixels: a (2, h, w), b (2, h, w), in pixels of the clip."""

    a: Float[Tensor, "2 h w"]
    b: Float[Tensor, "2 h w"]

    def at(self, q: Float[Tensor, "h w"] | float) -> Float[Tensor, "2 h w"]:
        return self.a + self.b * q

    def part(self, rows: slice, columns: slice) -> _Lines:
        return _Lines(self.a[:, rows, columns], self.b[:, rows, columns])


def render_view(
    layers: Layers, frame: int, view: View, camera: Camera
) -> UInt8[np.ndarray, "3 height width"]:
    """One frame seen by another camera.

    Args:
        layers: The clip.
        frame: Index of the frame.
        view: Where the camera stands and looks.
        camera: Its field of view and the size of the picture; not the clip's.

    Returns:
        sRGB.
    """
    rays = _directions(camera.rays(), view)
    lines = _lines(rays, view, layers.camera)
    plate = torch.from_numpy(np.ascontiguousarray(layers.plate_at(frame))).float()
    picture = _sample(plate, lines.at(_behind(layers, frame, lines, rays, view)), "bicubic")
    window = _window(layers, frame, view, camera)
    if window is not None:
        picture[:, window[0], window[1]] = _over(
            layers, frame, lines.part(*window), picture[:, window[0], window[1]]
        )
    return picture.round_().clamp_(0, 255).to(torch.uint8).numpy()


def _directions(rays: Float[np.ndarray, "h w 3"], view: View) -> Float[Tensor, "2 h w"]:
    """The other camera's rays in the clip's axes, x and y at z = 1."""
    own = torch.from_numpy(rays).permute(2, 0, 1).clone()
    own[0] -= view.shift
    turned = torch.einsum("ij,ihw->jhw", torch.from_numpy(view.rotation).float(), own)
    return turned[:2] / turned[2:].clamp_min(1e-3)


def _lines(rays: Float[Tensor, "2 h w"], view: View, camera: Camera) -> _Lines:
    x, y, z = (float(v) for v in view.position)
    centre = torch.tensor(camera.centre).view(2, 1, 1)
    place = torch.tensor([x, y]).view(2, 1, 1)
    return _Lines(camera.focal * rays + centre, camera.focal * (place - rays * z))


def _behind(
    layers: Layers, frame: int, lines: _Lines, rays: Float[Tensor, "2 h w"], view: View
) -> Float[Tensor, "h w"]:
    """1 / z of the background at the output's pixels, z along the clip's axis."""
    if layers.stage:
        return _stage_disparity(layers.stage, rays, view)
    disparity = 1 / torch.from_numpy(layers.plate_z_at(frame))
    return _meet(lines, disparity, None)[0]


def _stage_disparity(
    stage: Sequence[Plane], rays: Float[Tensor, "2 h w"], view: View
) -> Float[Tensor, "h w"]:
    """1 / z where the rays meet the nearest of the planes."""
    nearest = torch.full(rays.shape[1:], torch.inf)
    for plane in stage:
        nx, ny, nz = (float(v) for v in plane.normal)
        away = plane.offset - float(plane.normal @ view.position)
        along = away / (nx * rays[0] + ny * rays[1] + nz)
        nearest = torch.minimum(nearest, torch.where(along > 0, along, torch.inf))
    return 1 / (nearest + float(view.position[2])).clamp_min(1e-3)


def _meet(
    lines: _Lines, disparity: Float[Tensor, "h w"], alpha: Float[Tensor, "h w"] | None
) -> tuple[Float[Tensor, "i j"], Bool[Tensor, "i j"]]:
    """1 / z at which each line first meets a surface, and whether it does.

    A surface is a shell, not a block: a line that is already far behind it passes on. So what is beside an
    arm is the background, not the arm's side. A line that passes behind a cliff *within* the person (an arm
    before the chest) meets the far side, at the last place where it was seen: the body has no cracks.

    Args:
        lines: Of the output's pixels.
        disparity: The surface's 1 / z at the clip's pixels.
        alpha: Where the surface is; what is not there is passed through. None: everywhere.

    Returns:
        1 / z, the surface's farthest where nothing is met; and where the surface or its continuation is met.
    """
    surface = torch.stack([disparity, torch.ones_like(disparity) if alpha is None else alpha])
    there = disparity if alpha is None else disparity[alpha > 0]
    near, far = float(there.max()) * 1.001, float(there.min()) * 0.999
    travel = float(lines.b.abs().amax()) * (near - far)
    steps = int(np.clip(np.ceil(travel / _STEP), 1, _MOST_STEPS))
    stride = (near - far) / steps
    shape = lines.a.shape[1:]
    found, none = torch.full(shape, far), torch.zeros(shape)
    settled, touched = none.bool(), none.bool()
    below_before, solid_before = none - 1, none.bool()
    for q in np.linspace(near, far, steps + 1).tolist():
        level, cover = _sample(surface, lines.at(q), "bilinear")
        below, solid = level - q, cover > _SOLID
        shell = max(_SHELL * q, 2 * stride)
        crossed = (below >= 0) & (below_before < 0)
        met = (below >= 0) & (below <= shell)
        cliff = crossed & ~met & solid_before
        # from behind another part of the body
        emerged = met & solid_before & (below_before > shell)
        real = ((met & (crossed | emerged) & solid) | cliff) & ~settled
        soft = met & crossed & ~touched & ~settled
        back = torch.where(crossed & met, below / (below - below_before).clamp_min(1e-12), cliff.float())
        found = torch.where(real | soft, q + back * stride, found)
        settled |= real
        touched |= soft
        below_before, solid_before = below, solid
    return found, settled | touched


def _over(
    layers: Layers, frame: int, lines: _Lines, picture: Float[Tensor, "3 i j"]
) -> Float[Tensor, "3 i j"]:
    """The person laid over a picture."""
    alpha = torch.from_numpy(layers.alpha[frame])
    q, met = _meet(lines, 1 / torch.from_numpy(layers.z[frame]), alpha)
    colour = torch.from_numpy(np.ascontiguousarray(layers.colour[frame])).float()
    sampled = _sample(torch.cat([colour, alpha[None]]), lines.at(q), "bicubic")
    cover = sampled[3:].clamp(0, 1) * met
    return picture + cover * (sampled[:3].clamp(0, 255) - picture)


def _sample(
    picture: Float[Tensor, "c h w"], places: Float[Tensor, "2 i j"], mode: str
) -> Float[Tensor, "c i j"]:
    """A picture at places in pixels; beyond its border it goes on as at the border."""
    size = torch.tensor([picture.shape[2], picture.shape[1]]).view(2, 1, 1)
    grid = ((2 * places + 1) / size - 1).permute(1, 2, 0)
    return grid_sample(picture[None], grid[None], mode, "border", align_corners=False)[0]


def _window(layers: Layers, frame: int, view: View, camera: Camera) -> tuple[slice, slice] | None:
    """Rows and columns of the output outside of which the person cannot be; None if nobody is there."""
    there = layers.alpha[frame] > 0
    if not there.any():
        return None
    (rows,), (columns,) = np.nonzero(there.any(1)), np.nonzero(there.any(0))
    box = [(x, y) for x in (columns[0] - 2, columns[-1] + 2) for y in (rows[0] - 2, rows[-1] + 2)]
    z = layers.z[frame][there]
    rays = [((x - layers.camera.centre[0]), (y - layers.camera.centre[1])) for x, y in box]
    points = np.array(
        [
            [dx * d / layers.camera.focal, dy * d / layers.camera.focal, d]
            for dx, dy in rays
            for d in (z.min(), z.max())
        ]
    )
    seen = view.seen(points)
    if seen[:, 2].min() < 0.05:
        return slice(0, camera.height), slice(0, camera.width)
    pixels = camera.project(seen) + np.array([view.shift * camera.focal, 0])
    (left, top), (right, bottom) = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    window = (
        slice(max(top - 1, 0), min(bottom + 2, camera.height)),
        slice(max(left - 1, 0), min(right + 2, camera.width)),
    )
    return window if window[0].start < window[0].stop and window[1].start < window[1].stop else None


def zoom_inside(layers: Layers, views: Sequence[View], camera: Camera) -> float:
    """The least zoom at which no view looks past the border of the background.

    One for all views, or the picture would breathe. It ends at 1.5; what is still beyond the border then goes
    on as at the border.
    """
    return max(each_frame(lambda i: _zoom(layers, views[i], camera), len(views)))


def _zoom(layers: Layers, view: View, camera: Camera) -> float:
    """The least zoom for one view, by bisection."""
    low, high = 1.0, _MOST_ZOOM
    if _inside(layers, view, camera):
        return low
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (low, middle) if _inside(layers, view, camera.zoomed(middle)) else (middle, high)
    return high


def _inside(layers: Layers, view: View, camera: Camera) -> bool:
    """Whether the output's border shows the inside of the clip's picture, a pixel's rounding aside."""
    rays = _directions(_border(camera), view)
    lines = _lines(rays, view, layers.camera)
    if layers.stage:
        q = _stage_disparity(layers.stage, rays, view)
    else:
        q = _meet(lines, 1 / torch.from_numpy(layers.plate_z_at(0)), None)[0]
    x, y = lines.at(q)
    height, width = layers.camera.height, layers.camera.width
    slack = 0.5 + 1e-3 * width
    return bool(
        x.min() >= -slack
        and y.min() >= -slack
        and x.max() <= width - 1 + slack
        and y.max() <= height - 1 + slack
    )


def _border(camera: Camera) -> Float[np.ndarray, "1 n 3"]:
    """The rays of the picture's border alone."""
    x, y = np.arange(camera.width), np.arange(camera.height)
    ends_x, ends_y = np.array([0, camera.width - 1]), np.array([0, camera.height - 1])
    (cx, cy), focal = camera.centre, camera.focal
    pixels = [np.stack(np.meshgrid(a, b), -1).reshape(-1, 2) for a, b in ((x, ends_y), (ends_x, y))]
    rays = (np.concatenate(pixels) - np.array([cx, cy])) / focal
    return np.concatenate([rays, np.ones((len(rays), 1))], 1).astype(np.float32)[None]
