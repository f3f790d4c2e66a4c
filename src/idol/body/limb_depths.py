"""What bone lengths and time say about the depth of limbs that a network has lifted.

All functions take points (f, 22, 3) in the order of `idol.body.lifter.POINTS`: pixels, z towards the viewer.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))
"""Start and end of upper and lower arms and legs, those that hang on others last."""

# What follows the end of a limb as it is: further limbs and their ends.
_FOLLOW = {3: [4, 21], 4: [21], 6: [7, 20], 7: [20], 9: [10, 19], 10: [19], 12: [13, 18], 13: [18]}
_FLICKER = 2  # frames: a limb that points the other way no longer than this did not move, it was misjudged


def limb_reach(points: Float[np.ndarray, "f 22 3"]) -> Float[np.ndarray, "f 8"]:
    """Return how far the end of each limb is nearer to the viewer than its start, pixels.

    Args:
        points: Pixels.
    """
    start, end = np.array(LIMBS).T
    return points[:, end, 2] - points[:, start, 2]


def with_limb_reach(
    points: Float[np.ndarray, "f 22 3"], reach: Float[np.ndarray, "f 8"]
) -> Float[np.ndarray, "f 22 3"]:
    """Return the points with limbs that reach as far in depth as told; what hangs on them moves along.

    Args:
        points: Pixels.
        reach: As `limb_reach` gives it.
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
    """Return the points with limbs that are nearer to their true length.

    The image tells how much of a limb's length lies in its plane; the rest is depth. Which way, the points
    say. Of a limb that lies nearly in the plane a small error of length is a large one of depth (l dl / d),
    so the length counts by the square of the share of it that is depth.

    Args:
        points: Pixels.
        lengths: Of the limbs in meters.
        pixels_per_meter: At the hips, frame by frame.
        share: How far a limb that points at the camera goes from the depth given to the one that its length
            asks for, in [0, 1].
    """
    start, end = np.array(LIMBS).T
    flat = np.linalg.norm(points[:, end, :2] - points[:, start, :2], axis=-1)
    reach = limb_reach(points)
    full = pixels_per_meter[:, None] * lengths
    deep = np.sqrt(np.maximum(full**2 - flat**2, 0.0))
    believed = share * (deep / full) ** 2
    return with_limb_reach(points, (1 - believed) * reach + believed * np.sign(reach) * deep)


def without_flicker(points: Float[np.ndarray, "f 22 3"]) -> Float[np.ndarray, "f 22 3"]:
    """Return the points without limbs that point the other way for one or two frames.

    Args:
        points: Pixels, frames in time.
    """
    reach = limb_reach(points)
    for limb in range(len(LIMBS)):
        reach[:, limb] = _steady(reach[:, limb])
    return with_limb_reach(points, reach)


def _steady(reach: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    """The values with short runs of the other sign between longer ones interpolated."""
    runs = _runs(reach > 0)
    short = np.zeros(len(reach), bool)
    for before, (start, stop), after in zip(runs, runs[1:], runs[2:], strict=False):
        length = stop - start
        if length <= _FLICKER and min(before[1] - before[0], after[1] - after[0]) > length:
            short[start:stop] = True
    at = np.arange(len(reach))
    return np.where(short, np.interp(at, at[~short], reach[~short]), reach)


def _runs(flags: Bool[np.ndarray, " f"]) -> list[tuple[int, int]]:
    """Stretches of equal values as (start, stop)."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8))) + 1
    bounds = [0, *edges.tolist(), len(flags)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))
