"""Where depth jumps, and a silhouette that does not run away.

At a silhouette a network's depth does not jump but runs, within a few pixels, from the person's distance to
the background's. Seen from elsewhere these pixels hang in the air behind the person, as shreds and rubber
sheets. Near the silhouette depth may therefore fall off no faster than a body turns away.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy.ndimage import distance_transform_edt, find_objects, grey_opening

from idol.rendering.geometry.camera import Layers
from idol.rendering.parallel import each_frame

STEEPEST = 6.0
"""How much deeper than wide a pixel may be before depth counts as jumping: a slope of 80 degrees."""
_TURNING = 1.5  # the same near the silhouette: 56 degrees
_RIM = 6  # pixels inside the silhouette that a network's depth runs away in
_REACH = 16  # pixels over which the inside holds the rim
_CLEFT = 5  # pixels: no part of the body that is seen behind nearer ones is narrower than that
_AROUND = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def is_jump(
    a: Float32[np.ndarray, "*b"], b: Float32[np.ndarray, "*b"], focal: float
) -> Bool[np.ndarray, "*b"]:
    """Whether depth jumps between neighboring pixels.

    Args:
        a: Meters along the view axis.
        b: The same of the neighbors.
        focal: Focal length in pixels.
    """
    return np.abs(a - b) > STEEPEST * np.minimum(a, b) / focal


def with_firm_edges(layers: Layers) -> Layers:
    """The layers with the person's depth held at the silhouette; known distances stay as they are."""
    if layers.metric:
        return layers
    focal, there = layers.camera.focal, layers.alpha >= 0.5
    held = each_frame(lambda i: _held(layers.z[i], there[i], focal), layers.frames)
    return replace(layers, z=np.stack(held))


def _held(
    z: Float32[np.ndarray, "h w"], there: Bool[np.ndarray, "h w"], focal: float
) -> Float32[np.ndarray, "h w"]:
    """One frame: in the rim z(p) <= z(q) + slope |p - q| for all q of the person; around, the nearest z."""
    if not there.any():
        return z
    box = find_objects(there.astype(np.int8))[0]
    inside, wide = there[box], [slice(max(side.start - _REACH, 0), side.stop + _REACH) for side in box]
    smooth = grey_opening(without_specks(z[box]), _CLEFT)
    held = np.pad(np.where(inside, smooth, np.inf), 1, constant_values=np.inf)
    _lower(held, np.flatnonzero(np.pad(_rim(there, box), 1)), focal)
    z = z.copy()
    z[box] = held[1:-1, 1:-1]
    rows, columns = distance_transform_edt(~there[*wide], return_distances=False, return_indices=True)
    z[*wide] = z[*wide][rows, columns]
    return z


def without_specks(z: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """The median of 3 x 3 pixels, edges repeated, which removes outliers; several times as fast as SciPy's.

    Once three columns are sorted, the median of the nine is that of the largest of their minima, the median
    of their medians, and the smallest of their maxima.

    Args:
        z: Any numbers.
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


def _rim(there: Bool[np.ndarray, "h w"], box: tuple[slice, slice]) -> Bool[np.ndarray, "i j"]:
    """The person's pixels near the silhouette; beyond the image's border the person goes on."""
    around = np.pad(there, 1, mode="edge")[tuple(slice(side.start, side.stop + 2) for side in box)]
    return there[box] & (distance_transform_edt(around)[1:-1, 1:-1] <= _RIM)


def _lower(z: Float32[np.ndarray, "h w"], rim: Int[np.ndarray, " n"], focal: float) -> None:
    """Bring depth down in place, where it falls off faster than a body turns away; inf: nobody.

    Args:
        z: Meters, with a border of inf.
        rim: Where it may change, as places in the flat array.
        focal: Focal length in pixels.
    """
    flat = z.reshape(-1)
    held, slope = flat.take(rim), np.float32(_TURNING / focal) * flat.take(rim)
    ways = [(rim + (dy * z.shape[1] + dx), slope * np.float32(np.hypot(dy, dx))) for dy, dx in _AROUND]
    for _ in range(_REACH):
        before = held
        for beside, rise in ways:
            held = np.minimum(held, flat.take(beside) + rise)
            flat[rim] = held
        if np.array_equal(held, before):
            return


def without_midair(z: Float32[np.ndarray, "h w"], focal: float) -> Float32[np.ndarray, "h w"]:
    """Depth without pixels that hang between their neighbors: even exact depth has them once it is resized.

    Such a pixel is a jump away from both neighbors in a row or a column, nearer than one and farther than
    the other. It gets the depth of the one that it is closer to.

    Args:
        z: Meters along the view axis.
        focal: Focal length in pixels.
    """
    settled = z.copy()
    for source, out in ((z, settled), (z.T, settled.T)):
        before, middle, after = source[:-2], source[1:-1], source[2:]
        between = (before - middle) * (middle - after) > 0
        hangs = between & is_jump(before, middle, focal) & is_jump(middle, after, focal)
        closer = np.where(np.abs(before - middle) < np.abs(after - middle), before, after)
        np.copyto(out[1:-1], closer, where=hangs)
    return settled
