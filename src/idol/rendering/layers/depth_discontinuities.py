"""Depth discontinuities, and a silhouette that keeps its depth.

At a silhouette the depth of a network does not jump but changes, within a few pixels, from the person's depth
to the background's. From another camera these pixels float in the air behind the person, as shreds and rubber
sheets. Near the silhouette, therefore, depth may fall off no faster than a body's surface turns away.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy.ndimage import distance_transform_edt, find_objects, grey_opening

from idol.rendering.geometry.camera import Layers
from idol.rendering.parallel import map_frames

MAX_SLOPE = 6.0
"""Largest ratio of depth change to pixel width on a continuous surface: a slope of 80 degrees."""
_SILHOUETTE_SLOPE = 1.5  # the same near the silhouette: 56 degrees
_RIM_WIDTH = 6  # pixels inside the silhouette in which a network's depth runs into the background's
_REACH = 16  # pixels; relaxation steps, over which the inside determines the rim
_OPENING_SIZE = 5  # pixels: parts of the body behind nearer ones are no narrower
_NEIGHBORS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def is_discontinuity(
    a: Float32[np.ndarray, "*b"], b: Float32[np.ndarray, "*b"], focal: float
) -> Bool[np.ndarray, "*b"]:
    """Return whether depth jumps between neighboring pixels.

    Args:
        a: Depth in meters along the optical axis.
        b: Depth of the neighboring pixels, in meters.
        focal: Focal length in pixels.
    """
    # a pixel is z / focal wide at depth z
    return np.abs(a - b) > MAX_SLOPE * np.minimum(a, b) / focal


def firm_silhouette(layers: Layers) -> Layers:
    """Return the layers with the person's depth kept firm at the silhouette; metric depth stays as it is."""
    if layers.metric:
        return layers
    focal, mask = layers.camera.focal, layers.alpha >= 0.5
    z = map_frames(lambda i: _firm_frame(layers.z[i], mask[i], focal), layers.frames)
    return replace(layers, z=np.stack(z))


def _firm_frame(
    z: Float32[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], focal: float
) -> Float32[np.ndarray, "h w"]:
    """Return one frame's depth z, limited in the rim to z(p) <= z(q) + slope |p - q| for all q of the person.

    Outside of the silhouette it is the depth of the nearest pixel of the person.
    """
    if not mask.any():
        return z
    box = find_objects(mask.astype(np.int8))[0]
    inside, wide = mask[box], [slice(max(side.start - _REACH, 0), side.stop + _REACH) for side in box]
    # the opening lowers narrow far cracks between nearer parts to those parts' depth
    smooth = grey_opening(median_3x3(z[box]), _OPENING_SIZE)
    firm = np.pad(np.where(inside, smooth, np.inf), 1, constant_values=np.inf)
    _limit_slope(firm, np.flatnonzero(np.pad(_rim(mask, box), 1)), focal)
    z = z.copy()
    z[box] = firm[1:-1, 1:-1]
    rows, columns = distance_transform_edt(~mask[*wide], return_distances=False, return_indices=True)
    z[*wide] = z[*wide][rows, columns]
    return z


def median_3x3(z: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return the median over 3 x 3 pixels with repeated edges; several times as fast as SciPy's filter.

    Once each column of three is sorted, the median of the nine values is the median of the largest minimum,
    the median of the medians, and the smallest maximum.

    Args:
        z: Any values.
    """
    padded = np.pad(z, 1, mode="edge")
    above, middle, below = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum(above, below), np.maximum(above, below)
    least, most = np.minimum(low, middle), np.maximum(high, middle)
    typical = np.maximum(low, np.minimum(high, middle))
    return _median_of_3(
        np.maximum(np.maximum(least[:, :-2], least[:, 1:-1]), least[:, 2:]),
        _median_of_3(typical[:, :-2], typical[:, 1:-1], typical[:, 2:]),
        np.minimum(np.minimum(most[:, :-2], most[:, 1:-1]), most[:, 2:]),
    )


def _median_of_3(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))


def _rim(mask: Bool[np.ndarray, "h w"], box: tuple[slice, slice]) -> Bool[np.ndarray, "i j"]:
    """Return the person's pixels near the silhouette; the image border does not count as silhouette."""
    around = np.pad(mask, 1, mode="edge")[tuple(slice(side.start, side.stop + 2) for side in box)]
    return mask[box] & (distance_transform_edt(around)[1:-1, 1:-1] <= _RIM_WIDTH)


def _limit_slope(z: Float32[np.ndarray, "h w"], rim: Int[np.ndarray, " n"], focal: float) -> None:
    """Lower depth in place where it grows faster than `_SILHOUETTE_SLOPE` from pixel to pixel, by relaxation.

    Args:
        z: Depth in meters, infinite outside of the person and on the border.
        rim: Flat indices of the pixels that may change.
        focal: Focal length in pixels.
    """
    flat = z.reshape(-1)
    values, slope = flat.take(rim), np.float32(_SILHOUETTE_SLOPE / focal) * flat.take(rim)
    # the border of infinities makes flat index offsets safe: none wraps around to the next row
    steps = [(rim + (dy * z.shape[1] + dx), slope * np.float32(np.hypot(dy, dx))) for dy, dx in _NEIGHBORS]
    for _ in range(_REACH):
        before = values
        for neighbor, rise in steps:
            values = np.minimum(values, flat.take(neighbor) + rise)
            flat[rim] = values  # at once, as in Gauss-Seidel iteration: later neighbors see it
        if np.array_equal(values, before):
            return


def remove_floating_pixels(z: Float32[np.ndarray, "h w"], focal: float) -> Float32[np.ndarray, "h w"]:
    """Return depth without pixels that float between their neighbors; even exact depth has some once resized.

    Such a pixel is separated by discontinuities from both neighbors in a row or a column, and lies between
    them in depth. It gets the depth of the closer one.

    Args:
        z: Depth in meters along the optical axis.
        focal: Focal length in pixels.
    """
    result = z.copy()
    for source, out in ((z, result), (z.T, result.T)):
        before, middle, after = source[:-2], source[1:-1], source[2:]
        between = (before - middle) * (middle - after) > 0
        floats = between & is_discontinuity(before, middle, focal) & is_discontinuity(middle, after, focal)
        closer = np.where(np.abs(before - middle) < np.abs(after - middle), before, after)
        np.copyto(out[1:-1], closer, where=floats)
    return result
