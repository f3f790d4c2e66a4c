"""Conversions of depth between meters, normalized disparity in [0, 1] and color.

Throughout the package depth is a normalized disparity: a value in [0, 1] that is linear in 1 / meters and
*larger where nearer*. Only this module knows about units and colormaps.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Shaped, UInt8
from torch import Tensor

Colormap = Literal["hot", "gray"]
PERSON_FLOOR = 0.2
"""Depth of the person's farthest point; below it lies only the exact 0 of "no person"."""

# "hot" runs along three edges of the RGB cube: dark red to red, to yellow, to white. Knots and colors are
# matplotlib's, except that red starts at exactly 11 / 255 (there 0.0416): depth 0 then survives 8 bits
# exactly.
_HOT_KNOTS = (0.0, 0.365079, 0.746032, 1.0)
_HOT_START = 11 / 255


def colorize_tensor(depth: Float[Tensor, "*b h w"], colormap: Colormap = "hot") -> Float[Tensor, "*b 3 h w"]:
    """Color a depth map for the autoencoder.

    Args:
        depth: (..., h, w) in [0, 1], larger is nearer; values outside are clamped.
        colormap: "hot" (black, red, yellow, white, as in the paper) or "gray".

    Returns:
        (..., 3, h, w) RGB in [-1, 1].
    """
    return _curve(depth.clamp(0, 1), colormap) * 2 - 1


def decolorize_tensor(rgb: Float[Tensor, "*b 3 h w"], colormap: Colormap = "hot") -> Float[Tensor, "*b h w"]:
    """Recover depth from a colored depth map, by the nearest point of the color curve.

    Exact on colors of the map. Other colors, such as a decoder emits, are projected onto the continuous
    curve; the projection has a closed form because the curve is piecewise straight.

    Args:
        rgb: (..., 3, h, w) RGB in [-1, 1]; values outside are clamped.
        colormap: The colormap the colors were made with.

    Returns:
        (..., h, w) depth in [0, 1].
    """
    return _project((rgb.clamp(-1, 1) + 1) / 2, colormap)


def colorize(depth: Float[np.ndarray, "*b h w"], colormap: Colormap = "hot") -> UInt8[np.ndarray, "*b 3 h w"]:
    """Color a depth map as 8-bit RGB, rounded to the nearest level.

    Args:
        depth: (..., h, w) in [0, 1], larger is nearer; values outside are clamped.
        colormap: "hot" or "gray".

    Returns:
        (..., 3, h, w) uint8 RGB.

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
    """Recover depth from an RGB depth map, by the nearest point of the color curve.

    Args:
        rgb: (..., 3, h, w) uint8, or floats in [0, 1].
        colormap: The colormap the colors were made with.

    Returns:
        (..., h, w) depth in [0, 1], within half a gray level (1 / 510) of the input of `colorize`.

    Raises:
        ValueError: If `rgb` is neither uint8 nor floating point.
    """
    if rgb.dtype != np.uint8 and not np.issubdtype(rgb.dtype, np.floating):
        raise ValueError(f"rgb: found {rgb.dtype}, expected uint8 or floats in [0, 1]")
    scale = 1 / 255 if rgb.dtype == np.uint8 else 1.0
    values = torch.from_numpy(np.ascontiguousarray(rgb, np.float32))
    return _project(values.mul(scale).clamp_(0, 1), colormap).numpy()


def _curve(depth: Tensor, colormap: Colormap) -> Tensor:
    """Map depth to the color curve, (..., h, w) in [0, 1] to (..., 3, h, w) in [0, 1]."""
    match colormap:
        case "gray":
            return depth.unsqueeze(-3).repeat_interleave(3, dim=-3)
        case "hot":
            _, a, b, _ = _HOT_KNOTS
            red = _HOT_START + depth * ((1 - _HOT_START) / a)
            return torch.stack([red, (depth - a) / (b - a), (depth - b) / (1 - b)], dim=-3).clamp_(0, 1)
    raise ValueError(f"colormap: found {colormap!r}, expected 'hot' or 'gray'")


def _project(rgb: Tensor, colormap: Colormap) -> Tensor:
    """Project colors onto the curve, (..., 3, h, w) in [0, 1] to its parameter (..., h, w) in [0, 1]."""
    match colormap:
        case "gray":
            return rgb.mean(dim=-3)
        case "hot":
            return _project_hot(rgb)
    raise ValueError(f"colormap: found {colormap!r}, expected 'hot' or 'gray'")


def _project_hot(rgb: Tensor) -> Tensor:
    """Project onto the nearest of the three edges of "hot"; inside the RGB cube only red needs a clamp."""
    red, green, blue = rgb.unbind(dim=-3)
    _, a, b, _ = _HOT_KNOTS
    # Squared distance to each edge: black-red (g = b = 0), red-yellow (r = 1, b = 0), yellow-white (r = g =
    # 1).
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
    """Convert metric depth to normalized disparity.

    With a mask the result is of kind `person`: the person's disparities run linearly from 0.2 (far) to 1
    (near), and everything else is exactly 0. Without a mask it is of kind `scene`: the whole frame from 0 to
    1.

    Args:
        z: (..., h, w) distances along the view axis in meters, positive inside the mask.
        mask: (..., h, w) the person, or None for the whole scene.
        depth_range: (near, far) in meters; distances outside are clamped to it.

    Returns:
        (..., h, w) depth in [0, 1], larger is nearer.

    Raises:
        ValueError: If the range is not 0 < near < far, or a distance inside the mask is NaN or not positive.
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
    """Convert normalized disparity to metric depth: the inverse of `from_meters`.

    Args:
        depth: (..., h, w) in [0, 1], larger is nearer.
        depth_range: (near, far) in meters.
        kind: Kind of the depth. `person`: values below 0.1 mean "no person"; values from there to 0.2, which
            only networks produce, mean far. `scene`: every value is a distance.

    Returns:
        (..., h, w) in meters; infinity where there is no person.

    Raises:
        ValueError: If the range is not 0 < near < far.
    """
    near, far = _checked_range(depth_range)
    values = depth.astype(np.float64)
    if kind == "person":
        values = (values - PERSON_FLOOR) / (1 - PERSON_FLOOR)
    # Linear in disparity, so interpolate 1 / z.
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
    """Convert metric depth of a whole clip to depth of kind `person`.

    Near and far are the person's extremes over *all* frames: normalizing frame by frame would make the depth
    flicker.

    Args:
        z: (f, h, w) distances along the view axis in meters.
        mask: (f, h, w) the person.

    Returns:
        Depth (the person in [0.2, 1], 0 elsewhere) and (near, far) in meters, with which `to_meters` inverts
        it.

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
    """Convert metric depth of a whole clip to depth of kind `scene`.

    Args:
        z: (f, h, w) distances along the view axis in meters, all positive and finite.

    Returns:
        Depth in [0, 1], and (near, far) in meters.

    Raises:
        ValueError: If a distance is not positive and finite, or all are the same.
    """
    near, far = float(z.min()), float(z.max())
    return from_meters(z, None, (near, far)), (near, far)


def normalize_disparity(
    disparity: Float32[np.ndarray, "f h w"], person: Bool[np.ndarray, "f h w"] | None = None
) -> Float32[np.ndarray, "f h w"]:
    """Convert estimated disparity of a whole clip, known up to scale and shift, to depth.

    Args:
        disparity: (f, h, w), larger is nearer.
        person: (f, h, w) mask of the person for depth of kind `person`; None for kind `scene`.

    Returns:
        (f, h, w) depth in [0, 1], spread over the full range; all 0 if the mask is empty.
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
    """Align a prediction with a target: s * prediction + o, least squares over the mask.

    Args:
        prediction: Disparities of unknown scale and shift, any shape.
        target: Disparities to compare with, same shape.
        mask: Where to fit, same shape; None fits everywhere.
        mode: "scale_shift", or "none" to return the prediction unchanged.

    Returns:
        The aligned prediction; a constant prediction becomes the target's mean.

    Raises:
        ValueError: If the mask is empty or a value under it is not finite.
    """
    if mode == "none":
        return prediction
    counts = np.ones(target.shape, bool) if mask is None else mask
    x, y = prediction[counts].astype(np.float64), target[counts].astype(np.float64)
    if x.size == 0 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("prediction, target: found nothing finite to align under the mask")
    # Closed form of the least-squares line through (x, y).
    spread = x - x.mean()
    variance = np.mean(spread**2)
    scale = np.mean(spread * y) / variance if variance > 1e-12 else 0.0
    return (prediction * scale + (y.mean() - scale * x.mean())).astype(prediction.dtype)
