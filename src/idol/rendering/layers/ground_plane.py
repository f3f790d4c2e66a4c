"""Background planes for clips without background depth: a floor under the feet and a back wall.

A background that is one flat image slides under the feet as soon as the camera moves, since the feet and the
ground beneath them are equally far away. Therefore the lower part of the image is placed on a plane through
the points where the feet touch the ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import gaussian_filter1d, grey_closing

from idol.rendering.geometry.camera import Camera, Plane

_WALL = 1.3  # distance of the back wall in multiples of the person's farthest distance; see `place_wall`
_JUMP = 1.0  # seconds for which feet may leave the floor
_TILT = 0.3  # prior standard deviation of the tilt s from level; see `fit_floor`
_REACH = 0.45  # extent of a body in front of or behind its middle, as a fraction of its height
_FEET = 0.12  # fraction of the person's height that is blended to the floor
_CONTACT_NOISE = 0.02  # relative standard deviation of the contacts' disparities


@dataclass(frozen=True)
class Feet:
    """The lowest point of the person, and the floor below.

    Attributes:
        lowest: (f,) row of the person's lowest pixel; NaN where nobody is visible.
        floor: (f,) row of the floor below the person; equals `lowest` except during jumps.
    """

    lowest: Float[np.ndarray, " f"]
    floor: Float[np.ndarray, " f"]

    @property
    def down(self) -> Bool[np.ndarray, " f"]:
        """Frames in which the feet are on the floor."""
        return self.lowest >= self.floor - 1.5


def find_feet(mask: Bool[np.ndarray, "f h w"], fps: float) -> Feet | None:
    """Return where the feet are in every frame, or None if they are cut off by the image in most frames.

    The floor is the morphological closing of the lowest rows over a second, so that jumps do not move it, and
    is smoothed slightly.

    Args:
        mask: The person.
        fps: Frames per second.
    """
    height = mask.shape[1]
    rows = mask.sum(2) > 0  # f h w -> f h
    lowest = np.where(rows.any(1), height - 1 - rows[:, ::-1].argmax(1), np.nan)
    visible = ~np.isnan(lowest)
    if not visible.any() or (lowest[visible] >= height - 2).mean() > 0.5:
        return None
    index = np.arange(len(lowest))
    filled = np.interp(index, index[visible], lowest[visible])
    half = round(_JUMP * fps / 2)
    # without padding the closing would take the clip's first and last steps for jumps
    padded = np.pad(filled, half, constant_values=0)
    floor = grey_closing(padded, 2 * half + 1)[half : half + len(filled)]
    return Feet(lowest, gaussian_filter1d(floor, max(0.1 * fps, 1e-3), mode="nearest"))


def fit_floor(feet: Feet, disparity: Float[np.ndarray, " f"], camera: Camera, level: bool) -> Plane | None:
    """Fit the floor to the points at which the feet touch it.

    A camera without roll sees a floor of normal (0, c, s) at distance d with disparity 1 / z = (c v + s) / d,
    where v is the slope of the ray below the optical axis. The two unknowns c / d and s / d are fitted to the
    contacts by regularized least squares with the prior s = 0, a level camera: a person who stays at one
    distance does not determine the tilt.

    Args:
        feet: Rows of the feet.
        disparity: Disparity of the contact in 1 / meters, one per frame.
        camera: The clip's camera.
        level: Whether to fix s = 0, because relative depth carries no information about tilt.

    Returns:
        The plane, or None if there is none below the camera.
    """
    v = (feet.floor + 0.5 - camera.center[1]) / camera.focal  # the lower edge of the pixel touches
    use = feet.down & ~np.isnan(feet.lowest)
    v, q = v[use], disparity[use]
    middle = float(np.median(q))
    # each equation is divided by its standard deviation
    rows = np.stack([v, np.ones_like(v)], 1) / (_CONTACT_NOISE * middle)
    prior = np.array([[0.0, 1.0]]) / ((1e-6 if level else _TILT) * middle)
    targets = np.append(q / (_CONTACT_NOISE * middle), 0.0)
    (c, s), *_ = np.linalg.lstsq(np.concatenate([rows, prior]), targets, rcond=None)
    if c * np.median(v) < 0.05 * middle or np.median(v) < 0.02:  # feet at eye level, or a floor seen edge-on
        return None
    length = float(np.hypot(c, s))  # c and s were fitted divided by d
    return Plane(np.array([0.0, c, s]) / length, 1 / length)


def place_wall(disparity: Float32[np.ndarray, " n"]) -> Plane:
    """Return the vertical plane behind all of the person's positions.

    It is not far behind: upright objects that cross from floor to wall appear bent, the more the farther it
    is.

    Args:
        disparity: Disparities of the person's pixels over the clip, in 1 / meters.
    """
    # a percentile instead of the minimum: single outliers must not push the wall away
    return Plane(np.array([0.0, 0.0, 1.0]), _WALL / float(np.percentile(disparity, 1)))


def limit_body_depth(
    disparity: Float32[np.ndarray, "f h w"], mask: Bool[np.ndarray, "f h w"], person_height: float
) -> Float32[np.ndarray, "f h w"]:
    """Limit disparities to what a body can extend from each frame's median.

    Outliers of generated depth are bent smoothly (by tanh) towards the limit; the depth of a normal body
    keeps its shape.

    Args:
        disparity: Disparity in 1 / meters.
        mask: The person.
        person_height: Height of the person in meters.
    """
    limited = disparity.copy()
    for i in np.nonzero(mask.any((1, 2)))[0]:
        middle = np.float32(np.median(disparity[i][mask[i]]))
        limit = np.float32(_REACH * person_height * middle**2)  # d(1 / z) = dz / z^2
        limited[i] = middle + limit * np.tanh((disparity[i] - middle) / limit)
    return limited


def plant_on_floor(
    disparity: Float32[np.ndarray, "f h w"],
    mask: Bool[np.ndarray, "f h w"],
    feet: Feet,
    floor: Plane,
    camera: Camera,
    fps: float,
) -> Float32[np.ndarray, "f h w"]:
    """Move a person of relative depth so that the feet stand on the floor.

    A body balances above its feet, so each frame's median disparity is moved to the floor's at the feet;
    the correction is smoothed over time. The lowest eighth of the body is blended to the disparity of the
    floor under it: a network's depth is least reliable there, and feet in front of or behind the floor
    would slide on it.

    Args:
        disparity: Disparity in 1 / meters.
        mask: The person.
        feet: Rows of the feet and of the floor below.
        floor: The floor.
        camera: The clip's camera.
        fps: Frames per second.
    """
    v = (feet.floor + 0.5 - camera.center[1]) / camera.focal
    ground = (v * floor.normal[1] + floor.normal[2]) / floor.offset  # disparity of the floor at the feet
    visible = np.nonzero(mask.any((1, 2)))[0]
    missing = [ground[i] - float(np.median(disparity[i][mask[i]])) for i in visible]
    index = np.arange(len(mask))
    shift = gaussian_filter1d(np.interp(index, visible, missing), max(0.15 * fps, 1e-3), mode="nearest")
    moved = (disparity + shift[:, None, None]).astype(np.float32)
    for i in visible:
        moved[i] = _pull_feet_to_floor(
            moved[i], mask[i], float(feet.floor[i] - feet.lowest[i]), floor, camera
        )
    return moved


def _pull_feet_to_floor(
    disparity: Float32[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    lift: float,
    floor: Plane,
    camera: Camera,
) -> Float32[np.ndarray, "h w"]:
    """Return one frame's disparity with the feet, `lift` pixels above the floor, at the floor's disparity."""
    height, width = mask.shape
    rows = np.nonzero(mask.any(1))[0]
    reach = max(_FEET * float(np.ptp(rows) + 1), 2.0)
    bottom = np.where(mask.any(0), height - 1 - mask[::-1].argmax(0), 0).astype(float)  # per column
    # the lowest of neighboring columns, so that the sole counts and not the outline of the shoe
    near = np.lib.stride_tricks.sliding_window_view(
        np.pad(bottom, round(reach / 2)), 2 * round(reach / 2) + 1
    )
    bottom = near.max(-1)
    bottom[bottom < rows[-1] - reach] = rows[-1]  # columns without feet: hands, hair, the other foot lifted
    v = (np.maximum(bottom, np.arange(height)[:, None]) + lift + 0.5 - camera.center[1]) / camera.focal
    ground = (v * floor.normal[1] + floor.normal[2]) / floor.offset
    weight = np.clip((np.arange(height)[:, None] - bottom + reach) / (0.7 * reach), 0, 1)
    weight = weight * weight * (3 - 2 * weight)  # smoothstep
    return (disparity + weight * (ground - disparity)).astype(np.float32)
