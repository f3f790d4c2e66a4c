"""Refinement of the depth of lifted limbs, from bone lengths and continuity in time.

All functions take points (f, 22, 3) in the order of `idol.body.lifter.POINTS`: pixels, z toward the viewer.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))
"""Start and end of upper and lower arms and legs; each upper part comes before its lower part."""

# Points that move along with the end of a limb.
_FOLLOW = {3: [4, 21], 4: [21], 6: [7, 20], 7: [20], 9: [10, 19], 10: [19], 12: [13, 18], 13: [18]}
_FLICKER = 2  # frames; a limb that points the other way for no longer than this is an error


def limb_reach(points: Float[np.ndarray, "f 22 3"]) -> Float[np.ndarray, "f 8"]:
    """Return how much nearer to the viewer each limb ends than it starts, pixels."""
    start, end = np.array(LIMBS).T
    return points[:, end, 2] - points[:, start, 2]


def with_limb_reach(
    points: Float[np.ndarray, "f 22 3"], reach: Float[np.ndarray, "f 8"]
) -> Float[np.ndarray, "f 22 3"]:
    """Change the extent of limbs in depth; points further along the limb move with its end.

    Args:
        points: Points in pixels.
        reach: The new result of `limb_reach`, pixels.
    """
    moved = points.copy()
    for limb, (start, end) in enumerate(LIMBS):
        change = reach[:, limb] - (moved[:, end, 2] - moved[:, start, 2])
        moved[:, [end, *_FOLLOW[end]], 2] += change[:, None]
    return moved


def keep_lengths(
    points: Float[np.ndarray, "f 22 3"],
    lengths: Float[np.ndarray, " 8"],
    pixels_per_meter: Float[np.ndarray, " f"],
    share: float = 0.5,
) -> Float[np.ndarray, "f 22 3"]:
    """Move the depth of limbs toward the depth that their lengths imply.

    The image shows the part of a limb's length in the image plane; the rest is depth, whose sign is that of
    the points. If a limb lies nearly in the image plane, a small error of length is a large error of depth
    (l dl / d), so the implied depth is weighted by the square of the ratio of depth to length.

    Args:
        points: Points in pixels.
        lengths: Lengths of the limbs in meters.
        pixels_per_meter: Scale at the hips in each frame.
        share: Weight of the implied depth for a limb that points at the camera, in [0, 1].
    """
    start, end = np.array(LIMBS).T
    flat = np.linalg.norm(points[:, end, :2] - points[:, start, :2], axis=-1)
    reach = limb_reach(points)
    full = pixels_per_meter[:, None] * lengths
    deep = np.sqrt(np.maximum(full**2 - flat**2, 0.0))
    believed = share * (deep / full) ** 2
    return with_limb_reach(points, (1 - believed) * reach + believed * np.sign(reach) * deep)


def without_flicker(points: Float[np.ndarray, "f 22 3"]) -> Float[np.ndarray, "f 22 3"]:
    """Correct limbs that point the other way in depth for one or two frames only.

    Args:
        points: Points of consecutive frames in pixels.
    """
    reach = limb_reach(points)
    for limb in range(len(LIMBS)):
        reach[:, limb] = _steady(reach[:, limb])
    return with_limb_reach(points, reach)


def _steady(reach: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    """Interpolate over short runs of one sign between longer runs of the other."""
    runs = _runs(reach > 0)
    short = np.zeros(len(reach), bool)
    for before, (start, stop), after in zip(runs, runs[1:], runs[2:], strict=False):
        length = stop - start
        if length <= _FLICKER and min(before[1] - before[0], after[1] - after[0]) > length:
            short[start:stop] = True
    at = np.arange(len(reach))
    return np.where(short, np.interp(at, at[~short], reach[~short]), reach)


def _runs(flags: Bool[np.ndarray, " f"]) -> list[tuple[int, int]]:
    """Return runs of equal values as (start, stop)."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8))) + 1
    bounds = [0, *edges.tolist(), len(flags)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))
