"""Depth: meters, [0, 1] and color, and the ways back.

Everywhere in the package depth is a normalized disparity: a number in [0, 1] that is linear in
1 / meters and *larger where nearer*. This module alone knows about units and color maps.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Shaped, UInt8
from torch import Tensor

Colormap = Literal["hot", "gray"]
PERSON_FLOOR = 0.2
"""Depth of the farthest point of the person; below it there is only the exact 0 of "no person"."""

# The three axis-aligned edges of "hot": dark red to red, to yellow, to white. Knots and colors are those
# of matplotlib's map, but it starts at exactly 11 / 255 (there 0.0416): so depth 0 survives 8 bits exactly.
_HOT_KNOTS = (0.0, 0.365079, 0.746032, 1.0)
_HOT_START = 11 / 255


def colorize_tensor(depth: Float[Tensor, "*b h w"], colormap: Colormap = "hot") -> Float[Tensor, "*b 3 h w"]:
    """Colors of a depth map, as the autoencoder wants them.

    Args:
        depth: Values in [0, 1], larger is nearer; values outside are clamped.
        colormap: "hot" (black-red-yellow-white, the paper's) or "gray".

    Returns:
        RGB in [-1, 1].
    """
    return _curve(depth.clamp(0, 1), colormap) * 2 - 1


def decolorize_tensor(rgb: Float[Tensor, "*b 3 h w"], colormap: Colormap = "hot") -> Float[Tensor, "*b h w"]:
    """Depth of a colored depth map: the parameter of the nearest point of the color curve.

    Exact on colors of the map; for others (what a decoder really emits) it is the Euclidean projection
    onto the continuous curve, found in closed form because the curve's pieces are straight.

    Args:
        rgb: Colors in [-1, 1]; values outside are clamped.
        colormap: The map they were made with.

    Returns:
        Depth in [0, 1].
    """
    return _project((rgb.clamp(-1, 1) + 1) / 2, colormap)


def colorize(depth: Float[np.ndarray, "*b h w"], colormap: Colormap = "hot") -> UInt8[np.ndarray, "*b 3 h w"]:
    """Colors of a depth map as 8-bit RGB, rounded.

    Args:
        depth: Values in [0, 1], larger is nearer; values outside are clamped.
        colormap: "hot" or "gray".

    Returns:
        RGB, 0 to 255.

    Raises:
        ValueError: If a value is not finite.
    """
    if not np.isfinite(depth).all():
        raise ValueError("depth: found NaN or infinity, expected values in [0, 1]")
    values = torch.from_numpy(np.ascontiguousarray(depth, np.float32)).clamp(0, 1)
    return _curve(values, colormap).mul_(255).round_().to(torch.uint8).numpy()


def decolorize(
    rgb: Shaped[np.ndarray, "*b 3 h w"], colormap: Colormap = "hot"
) -> Float32[np.ndarray, "*b h w"]:
    """Depth of an RGB depth map: the parameter of the nearest point of the color curve.

    Args:
        rgb: uint8 in 0 to 255, or floats in [0, 1].
        colormap: The map it was made with.

    Returns:
        Depth in [0, 1]; within half a gray level (1 / 510) of what `colorize` was given.

    Raises:
        ValueError: If `rgb` is neither uint8 nor floating point.
    """
    if rgb.dtype != np.uint8 and not np.issubdtype(rgb.dtype, np.floating):
        raise ValueError(f"rgb: found {rgb.dtype}, expected uint8 or floats in [0, 1]")
    scale = 1 / 255 if rgb.dtype == np.uint8 else 1.0
    values = torch.from_numpy(np.ascontiguousarray(rgb, np.float32))
    return _project(values.mul(scale).clamp_(0, 1), colormap).numpy()


def _curve(depth: Tensor, colormap: Colormap) -> Tensor:
    """Points of the color curve, (..., h, w) in [0, 1] to (..., 3, h, w) in [0, 1]."""
    match colormap:
        case "gray":
            return depth.unsqueeze(-3).repeat_interleave(3, dim=-3)
        case "hot":
            _, a, b, _ = _HOT_KNOTS
            red = _HOT_START + depth * ((1 - _HOT_START) / a)
            return torch.stack([red, (depth - a) / (b - a), (depth - b) / (1 - b)], dim=-3).clamp_(0, 1)
    raise ValueError(f"colormap: found {colormap!r}, expected 'hot' or 'gray'")


def _project(rgb: Tensor, colormap: Colormap) -> Tensor:
    """Curve parameter of the point nearest to each color, (..., 3, h, w) in [0, 1] to (..., h, w)."""
    match colormap:
        case "gray":
            return rgb.mean(dim=-3)
        case "hot":
            return _project_hot(rgb)
    raise ValueError(f"colormap: found {colormap!r}, expected 'hot' or 'gray'")


def _project_hot(rgb: Tensor) -> Tensor:
    """Projection onto the edges of "hot"; colors are inside the cube, so only red needs a clamp."""
    red, green, blue = rgb.unbind(dim=-3)
    _, a, b, _ = _HOT_KNOTS
    along_red = red.clamp_min(_HOT_START)
    not_red, green2, blue2 = (1 - red).square(), green.square(), blue.square()
    to_red = (red - along_red).square() + green2 + blue2
    to_yellow = not_red + blue2
    to_white = not_red + (1 - green).square()
    depth = (along_red - _HOT_START) * (a / (1 - _HOT_START))
    depth = torch.where(to_yellow < to_red, a + (b - a) * green, depth)
    return torch.where(to_white < torch.minimum(to_red, to_yellow), b + (1 - b) * blue, depth)


def from_meters(
    z: Float[np.ndarray, "*b h w"], mask: Bool[np.ndarray, "*b h w"] | None, depth_range: tuple[float, float]
) -> Float32[np.ndarray, "*b h w"]:
    """Normalized disparity of metric depth.

    With a mask the result is of kind `person`: the person's disparities run linearly from 0.2 (far) to 1
    (near) and everything else is exactly 0. Without one it is of kind `scene`: the whole frame from 0 to 1.

    Args:
        z: Distances along the view axis in meters, positive where they count.
        mask: The person, or None for the whole scene.
        depth_range: (near, far) in meters; what lies outside is clamped to it.

    Returns:
        Depth in [0, 1], larger is nearer.

    Raises:
        ValueError: If the range is not 0 < near < far, or a distance that counts is NaN or not positive.
    """
    near, far = _checked_range(depth_range)
    counts = np.ones_like(z, bool) if mask is None else mask
    distances = z[counts].astype(np.float64)
    if not (distances > 0).all():
        raise ValueError("z: found NaN or distances <= 0, expected positive meters")
    unit = np.clip((1 / distances - 1 / far) / (1 / near - 1 / far), 0, 1)
    depth = np.zeros(z.shape, np.float32)
    depth[counts] = unit if mask is None else PERSON_FLOOR + (1 - PERSON_FLOOR) * unit
    return depth


def to_meters(
    depth: Float[np.ndarray, "*b h w"],
    depth_range: tuple[float, float],
    kind: Literal["person", "scene"] = "person",
) -> Float32[np.ndarray, "*b h w"]:
    """Metric depth of a normalized disparity: the inverse of `from_meters`.

    Args:
        depth: Values in [0, 1], larger is nearer.
        depth_range: (near, far) in meters.
        kind: `person`: values from 0.2 up are the person, values below half of 0.2 are nothing, what a
            network leaves between the two counts as far. `scene`: everything counts.

    Returns:
        Meters; infinity where there is no person.

    Raises:
        ValueError: If the range is not 0 < near < far.
    """
    near, far = _checked_range(depth_range)
    values = depth.astype(np.float64)
    if kind == "person":
        values = (values - PERSON_FLOOR) / (1 - PERSON_FLOOR)
    z = 1 / (1 / far + np.clip(values, 0, 1) * (1 / near - 1 / far))
    if kind == "person":
        z[depth < PERSON_FLOOR / 2] = np.inf
    return z.astype(np.float32)


def _checked_range(depth_range: tuple[float, float]) -> tuple[float, float]:
    near, far = float(depth_range[0]), float(depth_range[1])
    if not 0 < near < far < np.inf:
        raise ValueError(f"depth_range: found ({near}, {far}), expected 0 < near < far in meters")
    return near, far


def normalize_person(
    z: Float[np.ndarray, "*b h w"], mask: Bool[np.ndarray, "*b h w"]
) -> tuple[Float32[np.ndarray, "*b h w"], tuple[float, float]]:
    """Depth of kind `person` over a whole clip, from meters.

    Near and far are the extremes of the person over *all* frames: normalizing each frame by itself would make
    the depth flicker.

    Args:
        z: Distances along the view axis in meters.
        mask: The person.

    Returns:
        Depth (the person in [0.2, 1], 0 elsewhere) and (near, far) in meters, for `to_meters` to invert it.

    Raises:
        ValueError: If the mask is empty, or the person's distances are not positive or all the same.
    """
    distances = z[mask]
    if distances.size == 0:
        raise ValueError("mask: found no person in any frame, expected at least one pixel")
    near, far = float(distances.min()), float(distances.max())
    return from_meters(z, mask, (near, far)), (near, far)


def normalize_scene(
    z: Float[np.ndarray, "*b h w"],
) -> tuple[Float32[np.ndarray, "*b h w"], tuple[float, float]]:
    """Depth of kind `scene` over a whole clip, from meters.

    Args:
        z: Distances along the view axis in meters, all positive and finite.

    Returns:
        Depth in [0, 1] and (near, far) in meters.

    Raises:
        ValueError: If a distance is not positive and finite, or all are the same.
    """
    near, far = float(z.min()), float(z.max())
    return from_meters(z, None, (near, far)), (near, far)


def normalize_disparity(
    disparity: Float32[np.ndarray, "f h w"], person: Bool[np.ndarray, "f h w"] | None = None
) -> Float32[np.ndarray, "f h w"]:
    """Estimated disparity, known up to scale and shift, as depth over a whole clip.

    Args:
        disparity: Larger is nearer.
        person: The person's mask, for depth of kind `person`: 0 everywhere if nobody is there. None: `scene`.
    """
    seen = disparity if person is None else disparity[person]
    if seen.size == 0:
        return np.zeros_like(disparity)
    low, high = float(seen.min()), float(seen.max())
    unit = np.clip((disparity - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    if person is None:
        return unit
    return np.where(person, np.float32(PERSON_FLOOR) + np.float32(1 - PERSON_FLOOR) * unit, np.float32(0))


Alignment = Literal["scale_shift", "none"]


def align(
    prediction: Float[np.ndarray, "*b"],
    target: Float[np.ndarray, "*b"],
    mask: Bool[np.ndarray, "*b"] | None = None,
    mode: Alignment = "scale_shift",
) -> Float[np.ndarray, "*b"]:
    """Prediction brought onto the target's scale: s * prediction + o, least squares over the mask.

    Args:
        prediction: Disparities of unknown scale and shift.
        target: Disparities to compare with.
        mask: Where to fit; everywhere if None.
        mode: "scale_shift", or "none" to leave the prediction alone.

    Returns:
        The prediction, aligned (a constant one becomes the target's mean).

    Raises:
        ValueError: If the mask is empty or a value under it is not finite.
    """
    if mode == "none":
        return prediction
    counts = np.ones(target.shape, bool) if mask is None else mask
    x, y = prediction[counts].astype(np.float64), target[counts].astype(np.float64)
    if x.size == 0 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("prediction, target: found nothing finite to align under the mask")
    spread = x - x.mean()
    variance = np.mean(spread**2)
    scale = np.mean(spread * y) / variance if variance > 1e-12 else 0.0
    return (prediction * scale + (y.mean() - scale * x.mean())).astype(prediction.dtype)
