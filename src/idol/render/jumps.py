"""Where depth jumps, and a silhouette that does not run away.

At a silhouette a network's depth does not jump but runs, within a few pixels, from the person's distance to
the background's. Seen from elsewhere these pixels hang in the air behind the person, as shreds and rubber
sheets. Near the silhouette depth may therefore fall off no faster than a body turns away.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import distance_transform_edt, find_objects, grey_opening, median_filter

from idol.render.space import Layers

STEEPEST = 6.0
"""How much deeper than wide a pixel may be before depth counts as jumping: a slope of 80 degrees."""
_TURNING = 1.5  # the same near the silhouette: 56 degrees
_RIM = 6  # pixels inside the silhouette that a network's depth runs away in
_REACH = 16  # pixels over which the inside holds the rim
_SPECK = 3  # pixels of the median filter that removes single outliers
_CLEFT = 5  # pixels: no part of the body that is seen behind nearer ones is narrower than that
_AROUND = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def is_jump(
    a: Float32[np.ndarray, "*b"], b: Float32[np.ndarray, "*b"], focal: float
) -> Bool[np.ndarray, "*b"]:
    """Whether depth jumps between neighbouring pixels.

    Args:
        a: Metres along the view axis.
        b: The same of the neighbours.
        focal: Focal length in pixels.
    """
    return np.abs(a - b) > STEEPEST * np.minimum(a, b) / focal


def with_firm_edges(layers: Layers) -> Layers:
    """The layers with the person's depth held at the silhouette; known distances stay as they are."""
    if layers.metric:
        return layers
    frames = zip(layers.z, layers.alpha >= 0.5, strict=True)
    return replace(layers, z=np.stack([_held(z, there, layers.camera.focal) for z, there in frames]))


def _held(
    z: Float32[np.ndarray, "h w"], there: Bool[np.ndarray, "h w"], focal: float
) -> Float32[np.ndarray, "h w"]:
    """One frame: in the rim z(p) <= z(q) + slope |p - q| for all q of the person; beyond, the nearest z."""
    if not there.any():
        return z
    window = find_objects(there.astype(np.int8))[0]
    inside = there[window]
    smooth = grey_opening(median_filter(z[window], _SPECK), _CLEFT)
    held = np.pad(np.where(inside, smooth, np.inf), 1, constant_values=np.inf)
    inner = held[1:-1, 1:-1]
    rim = inside & (distance_transform_edt(np.pad(there, 1, mode="edge"))[1:-1, 1:-1][window] <= _RIM)
    slope = _TURNING * np.where(inside, inner, 0) / focal
    (h, w), beside = inner.shape, np.empty_like(inner)
    for _ in range(_REACH):
        for dy, dx in _AROUND:
            np.add(held[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w], slope * np.hypot(dy, dx), out=beside)
            np.minimum(inner, beside, out=inner, where=rim)
    rows, columns = distance_transform_edt(~there, return_distances=False, return_indices=True)
    z = z.copy()
    z[window] = inner
    return z[rows, columns]


def without_midair(z: Float32[np.ndarray, "h w"], focal: float) -> Float32[np.ndarray, "h w"]:
    """Depth without pixels that hang between their neighbours: even exact depth has them once it is resized.

    Such a pixel is a jump away from both neighbours in a row or a column, nearer than one and farther than
    the other. It gets the depth of the one that it is closer to.

    Args:
        z: Metres along the view axis.
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
