"""The stage: what is behind the person, if its depth is not known: a floor under the feet and a back wall.

A background that is one flat image slides under the feet as soon as the camera moves, for feet and the
ground beneath them are equally far away. So the image's lower part is laid on a plane that runs through
the places where the feet touch it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import gaussian_filter1d, grey_closing

from idol.rendering.geometry.camera import Camera, Plane

_WALL = 1.3  # distance of the back wall, in the farthest distance of the person; see `wall_behind`
_JUMP = 1.0  # seconds for which feet may leave the floor
_TILT = 0.3  # how far from level the camera is by habit (a priori deviation), see `floor_through`
_REACH = 0.45  # of the person's height, that a body reaches before or behind its middle
_FEET = 0.12  # part of the person's height that stands on the floor


@dataclass(frozen=True)
class Feet:
    """Where the person stands.

    Attributes:
        lowest: (f,) row of the person's lowest pixel; NaN where nobody is seen.
        floor: (f,) row of the floor below the person, the same but for jumps.
    """

    lowest: Float[np.ndarray, " f"]
    floor: Float[np.ndarray, " f"]

    @property
    def down(self) -> Bool[np.ndarray, " f"]:
        """In which frames the feet are on the floor."""
        return self.lowest >= self.floor - 1.5


def find_feet(mask: Bool[np.ndarray, "f h w"], fps: float) -> Feet | None:
    """Where the person stands in every frame, or None if the feet are out of the image in most frames.

    The floor is the morphological closing of the lowest rows over a second: a jump does not move it. It is
    smoothed a little.
    """
    height = mask.shape[1]
    rows = mask.sum(2) > 0
    lowest = np.where(rows.any(1), height - 1 - rows[:, ::-1].argmax(1), np.nan)
    seen = ~np.isnan(lowest)
    if not seen.any() or (lowest[seen] >= height - 2).mean() > 0.5:
        return None
    index = np.arange(len(lowest))
    filled = np.interp(index, index[seen], lowest[seen])
    half = round(_JUMP * fps / 2)
    # padded: a closing of the bare rows would take the clip's first and last steps for jumps
    padded = np.pad(filled, half, constant_values=0)
    floor = grey_closing(padded, 2 * half + 1)[half : half + len(filled)]
    return Feet(lowest, gaussian_filter1d(floor, max(0.1 * fps, 1e-3), mode="nearest"))


def floor_through(
    feet: Feet, disparity: Float[np.ndarray, " f"], camera: Camera, level: bool
) -> Plane | None:
    """The floor that runs through the places where the feet touch it.

    A camera that is not rolled sees a floor of normal (0, c, s), at distance d, at 1 / z = (c v + s) / d,
    with v how far the ray sinks below the axis. The two unknowns are fitted to the contacts, with a prior
    that the camera is level (s = 0): a person who stays at one distance does not tell.

    Args:
        feet: Where they are.
        disparity: 1 / meters of the contacts, one per frame.
        camera: The clip's.
        level: Take the camera to be level, as relative depth cannot tell.

    Returns:
        The plane, or None if there is none below the camera.
    """
    v = (feet.floor + 0.5 - camera.center[1]) / camera.focal
    use = feet.down & ~np.isnan(feet.lowest)
    v, q = v[use], disparity[use]
    middle = float(np.median(q))
    rows = np.stack([v, np.ones_like(v)], 1) / (0.02 * middle)
    prior = np.array([[0.0, 1.0]]) / ((1e-6 if level else _TILT) * middle)
    wanted = np.append(q / (0.02 * middle), 0.0)
    (c, s), *_ = np.linalg.lstsq(np.concatenate([rows, prior]), wanted, rcond=None)
    if c * np.median(v) < 0.05 * middle or np.median(v) < 0.02:
        return None
    length = float(np.hypot(c, s))
    return Plane(np.array([0.0, c, s]) / length, 1 / length)


def wall_behind(disparity: Float32[np.ndarray, " n"]) -> Plane:
    """The upright plane behind everything that the person's disparities reach.

    Not far behind: what stands upright on the floor is bent where it crosses onto the wall, the more the
    farther that is.
    """
    return Plane(np.array([0.0, 0.0, 1.0]), _WALL / float(np.percentile(disparity, 1)))


def within_reach(
    disparity: Float32[np.ndarray, "f h w"], mask: Bool[np.ndarray, "f h w"], person_height: float
) -> Float32[np.ndarray, "f h w"]:
    """Disparities of which none is farther from its frame's median than a body reaches.

    Outliers of generated depth bend smoothly (by tanh) towards the limit; a body's own depth keeps its shape.
    """
    reached = disparity.copy()
    for i in np.nonzero(mask.any((1, 2)))[0]:
        middle = np.float32(np.median(disparity[i][mask[i]]))
        limit = np.float32(_REACH * person_height * middle**2)
        reached[i] = middle + limit * np.tanh((disparity[i] - middle) / limit)
    return reached


def planted(
    disparity: Float32[np.ndarray, "f h w"],
    mask: Bool[np.ndarray, "f h w"],
    feet: Feet,
    floor: Plane,
    camera: Camera,
    fps: float,
) -> Float32[np.ndarray, "f h w"]:
    """Disparities of a person of relative depth who stands on the floor.

    A body balances above its feet, so each frame's median is brought to the floor's distance at the feet;
    over time the correction is smoothed. What is near the ground (the lowest eighth of the body) is drawn to
    the distance of the floor under it: depth that a network makes is least certain there, and feet that hover
    before or behind the floor would slide on it.
    """
    v = (feet.floor + 0.5 - camera.center[1]) / camera.focal
    ground = (v * floor.normal[1] + floor.normal[2]) / floor.offset
    seen = np.nonzero(mask.any((1, 2)))[0]
    missing = [ground[i] - float(np.median(disparity[i][mask[i]])) for i in seen]
    index = np.arange(len(mask))
    shift = gaussian_filter1d(np.interp(index, seen, missing), max(0.15 * fps, 1e-3), mode="nearest")
    moved = (disparity + shift[:, None, None]).astype(np.float32)
    for i in seen:
        moved[i] = _grounded(moved[i], mask[i], float(feet.floor[i] - feet.lowest[i]), floor, camera)
    return moved


def _grounded(
    disparity: Float32[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    lift: float,
    floor: Plane,
    camera: Camera,
) -> Float32[np.ndarray, "h w"]:
    """One frame's disparity with the feet, `lift` pixels above the floor, at the distance of the floor."""
    height, width = mask.shape
    rows = np.nonzero(mask.any(1))[0]
    reach = max(_FEET * float(np.ptp(rows) + 1), 2.0)
    bottom = np.where(mask.any(0), height - 1 - mask[::-1].argmax(0), 0).astype(float)
    near = np.lib.stride_tricks.sliding_window_view(
        np.pad(bottom, round(reach / 2)), 2 * round(reach / 2) + 1
    )
    bottom = near.max(-1)
    bottom[bottom < rows[-1] - reach] = rows[-1]
    v = (np.maximum(bottom, np.arange(height)[:, None]) + lift + 0.5 - camera.center[1]) / camera.focal
    ground = (v * floor.normal[1] + floor.normal[2]) / floor.offset
    weight = np.clip((np.arange(height)[:, None] - bottom + reach) / (0.7 * reach), 0, 1)
    weight = weight * weight * (3 - 2 * weight)
    return (disparity + weight * (ground - disparity)).astype(np.float32)
