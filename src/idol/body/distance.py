"""How far from the camera a person is, over a clip: bone lengths, the ground, and slowness of change.

Bone lengths tell the scale of every frame, but roughly: a limb that points at the camera tells little. On
flat ground the scale of what touches it is affine in its place in the image (1 / Z is, on any plane), so
the feet tell *changes* of scale finely once that plane is known. Both are put together over the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import solveh_banded
from scipy.ndimage import maximum_filter1d

_BONES = np.array(
    [(2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13), (2, 5), (8, 11), (1, 8), (1, 11)]
)
_SECOND = (1.0, -2.0, 1.0)
_TOES = (18, 19)
_ANKLES = (13, 10)


@dataclass(frozen=True)
class DistanceConfig:
    """How strongly each source is believed.

    Attributes:
        smooth: Weight of the second differences of the logarithm of the scale.
        ground: Weight of a frame's contact with the ground, where bone lengths weigh 1.
        camera_height: Meters that a camera is expected above the ground.
        camera_height_spread: By which factor it may well be higher or lower.
        still: Meters per frame that a foot on the ground moves at most.
    """

    smooth: float = 10.0
    ground: float = 2.0
    camera_height: float = 1.5
    camera_height_spread: float = 1.7
    still: float = 0.1


def bone_scale(
    points: Float[np.ndarray, "f 22 3"], rest: Float[np.ndarray, "22 3"], focal: float
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Return the pixels per meter at the hips that bone lengths tell, and how far they disagree.

    Args:
        points: x and y from the principal point, z towards the viewer, pixels.
        rest: The same points of the person's body at rest, meters.
        focal: Focal length in pixels.

    Returns:
        The median over bones weighted by length, and the median relative deviation from it.
    """
    # Nearer things are drawn larger: back to the size that they have at the hips' distance.
    flat = points[..., :2] * (1 - points[..., 2:] / focal)
    local = np.concatenate([flat, points[..., 2:]], -1)
    lengths = np.linalg.norm(rest[_BONES[:, 0]] - rest[_BONES[:, 1]], axis=-1)
    found = np.linalg.norm(local[:, _BONES[:, 0]] - local[:, _BONES[:, 1]], axis=-1) / lengths
    scale = _weighted_median(found, lengths)
    spread = _weighted_median(np.abs(found / scale[:, None] - 1), lengths)
    return scale, spread


def _weighted_median(values: Float[np.ndarray, "f n"], weights: Float[np.ndarray, " n"]) -> np.ndarray:
    order = np.argsort(values, 1)
    below = weights[order].cumsum(1)
    middle = (below >= below[:, -1:] / 2).argmax(1)
    rows = np.arange(len(values))
    return values[rows, order[rows, middle]]


def steady_scale(
    points: Float[np.ndarray, "f 22 3"],
    rest: Float[np.ndarray, "22 3"],
    focal: float,
    config: DistanceConfig | None = None,
) -> Float[np.ndarray, " f"]:
    """Return pixels per meter at the hips over a clip, free of jumps.

    Args:
        points: x (right) and y (down) from the principal point, z towards the viewer, pixels.
        rest: The same points of the person's body at rest, meters.
        focal: Focal length in pixels; the distance of the hips is `focal` by the result.
        config: How strongly each source is believed.
    """
    config = config or DistanceConfig()
    told, spread = bone_scale(points, rest, focal)
    trust = 1 / (0.05 + spread) ** 2
    trust = trust / trust.mean()
    value, weight = np.log(told), trust
    for _ in range(2):  # the plane is fitted to a smooth scale, which knows the plane the second time
        scale = np.exp(_smoothed(value, weight, config.smooth))
        ground, touching = _ground_scale(points, scale, focal, config)
        total = trust + config.ground * touching
        value = (trust * np.log(told) + config.ground * touching * np.log(ground)) / total
        weight = total
    return np.exp(_smoothed(value, weight, config.smooth))


def _ground_scale(
    points: np.ndarray, scale: np.ndarray, focal: float, config: DistanceConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Scale at the hips that the foot on the ground tells, and in which frames one is there."""
    foot, touching = _standing_foot(points, scale, config.still)
    # Of the foot rather than the hips: scale grows towards the camera.
    at_foot = scale * focal / (focal - foot[:, 2])
    plane = _fit_plane(foot[:, :2], at_foot, touching, config)
    now = np.maximum(foot[:, :2] @ plane[:2] + plane[2], 0.3 * at_foot)
    return now * (focal - foot[:, 2]) / focal, touching.astype(float)


def _standing_foot(
    points: np.ndarray, scale: np.ndarray, still: float
) -> tuple[Float[np.ndarray, "f 3"], Bool[np.ndarray, " f"]]:
    """The foot that is lower in each frame, middle of ankle and toe, and whether it stays where it is."""
    feet = (points[:, _ANKLES] + points[:, _TOES]) / 2
    rows = np.arange(len(points))
    lower = feet[..., 1].argmax(1)
    foot = feet[rows, lower]
    if len(points) == 1:
        return foot, np.ones(1, bool)
    moved = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1) / scale[1:, None]
    moved = np.minimum(np.concatenate([moved[:1], moved]), np.concatenate([moved, moved[-1:]]))
    # In the air: higher than shortly before and after by more than walking explains.
    lowest = maximum_filter1d(foot[:, 1], min(len(foot), 9), mode="nearest")
    grounded = foot[:, 1] > lowest - 0.12 * scale
    return foot, (moved[rows, lower] < still) & grounded


def _fit_plane(
    at: Float[np.ndarray, "f 2"], scale: np.ndarray, touching: np.ndarray, config: DistanceConfig
) -> Float[np.ndarray, " 3"]:
    """(a, b, c): the ground's scale is a x + b y + c; b is 1 / camera height, a is about 0."""
    if touching.sum() < 2:
        return np.array([0.0, 0.0, float(np.median(scale))])
    xy, told = at[touching], scale[touching]
    middle = xy.mean(0)
    design = np.concatenate([xy - middle, np.ones((len(xy), 1))], 1)
    slope = 1 / config.camera_height
    sure = 0.04 * told.mean()  # how well the scale of one frame is known, pixels per meter
    prior = np.array([0.15 * slope, slope * (config.camera_height_spread - 1), 1e3])
    expected = np.array([0.0, slope, float(np.median(told))])
    # Frames are no independent witnesses: a clip counts as a tenth of its frames.
    weight = min(1.0, 10 / len(xy)) / sure**2
    normal = weight * design.T @ design + np.diag(1 / prior**2)
    plane = np.linalg.solve(normal, weight * design.T @ told + expected / prior**2)
    return np.array([plane[0], plane[1], plane[2] - plane[:2] @ middle])


def _smoothed(value: np.ndarray, weight: np.ndarray, smooth: float) -> np.ndarray:
    """The values nearest to the given ones whose second differences are small (Whittaker's smoother)."""
    f = len(value)
    if f < 3:
        return np.full(f, float((value * weight).sum() / weight.sum()))
    bands = np.zeros((3, f))  # of weight + smooth D'D, D being second differences
    bands[0] = weight
    for i, a in enumerate(_SECOND):
        for j, b in enumerate(_SECOND[i:]):
            bands[j, i : f - 2 + i] += smooth * a * b
    return solveh_banded(bands, weight * value, lower=True)
