"""Distance of a person from the camera over a clip, from bone lengths, ground contact and smoothness.

Bone lengths give a rough scale for every frame; a limb that points at the camera contributes little. On flat
ground, the scale of what touches it is affine in its image position (1 / Z is affine on any plane), so the
feet give precise *changes* of scale once that plane is known. Both are combined over the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import solveh_banded
from scipy.ndimage import maximum_filter1d

BONES = np.array(
    [(2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13), (2, 5), (8, 11), (1, 8), (1, 11)]
)
"""(12, 2) pairs of joints whose distances measure the size of a body."""

_SECOND = (1.0, -2.0, 1.0)
_TOES = (18, 19)
_ANKLES = (13, 10)


@dataclass(frozen=True)
class DistanceConfig:
    """Weights of the sources of scale.

    Attributes:
        smooth: Weight of the second differences of the logarithm of the scale.
        ground: Weight of a frame's ground contact; bone lengths have weight 1.
        camera_height: Expected height of the camera above the ground, meters.
        camera_height_spread: Standard deviation of the camera height, as a factor above 1.
        still: Largest movement of a foot on the ground, meters per frame.
    """

    smooth: float = 10.0
    ground: float = 2.0
    camera_height: float = 1.5
    camera_height_spread: float = 1.7
    still: float = 0.1


def bone_scale(
    points: Float[np.ndarray, "f 22 3"], rest: Float[np.ndarray, "22 3"], focal: float
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Return the pixels per meter at the hips from bone lengths, and how far the bones disagree.

    Args:
        points: x and y from the principal point, z toward the viewer, pixels.
        rest: The same points of the person's body at rest, meters.
        focal: Focal length in pixels.

    Returns:
        (f,) median over bones weighted by length, and (f,) median relative deviation from it.
    """
    # Undo perspective: nearer points appear larger than they would at the distance of the hips.
    flat = points[..., :2] * (1 - points[..., 2:] / focal)
    local = np.concatenate([flat, points[..., 2:]], -1)
    lengths = np.linalg.norm(rest[BONES[:, 0]] - rest[BONES[:, 1]], axis=-1)
    found = np.linalg.norm(local[:, BONES[:, 0]] - local[:, BONES[:, 1]], axis=-1) / lengths
    scale = weighted_median(found, lengths)
    spread = weighted_median(np.abs(found / scale[:, None] - 1), lengths)
    return scale, spread


def weighted_median(
    values: Float[np.ndarray, "f n"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " f"]:
    """Return the weighted median of each row.

    Args:
        values: (f, n) values.
        weights: (n,) weights of the columns, not negative.
    """
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
    """Return smooth pixels per meter at the hips over a clip.

    Args:
        points: x (right) and y (down) from the principal point, z toward the viewer, pixels.
        rest: The same points of the person's body at rest, meters.
        focal: Focal length in pixels; the hips are at a distance of `focal` divided by the result.
        config: Weights of the sources.
    """
    config = config or DistanceConfig()
    from_bones, spread = bone_scale(points, rest, focal)
    trust = 1 / (0.05 + spread) ** 2
    trust = trust / trust.mean()
    value, weight = np.log(from_bones), trust
    # The ground plane is fitted to a smoothed scale, which in the second pass already includes the plane.
    for _ in range(2):
        scale = np.exp(_smoothed(value, weight, config.smooth))
        ground, touching = _ground_scale(points, scale, focal, config)
        total = trust + config.ground * touching
        value = (trust * np.log(from_bones) + config.ground * touching * np.log(ground)) / total
        weight = total
    return np.exp(_smoothed(value, weight, config.smooth))


def _ground_scale(
    points: np.ndarray, scale: np.ndarray, focal: float, config: DistanceConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale at the hips from the foot on the ground, and 1 in frames that have such a foot."""
    foot, touching = _standing_foot(points, scale, config.still)
    # Convert from the distance of the hips to that of the foot: scale grows toward the camera.
    at_foot = scale * focal / (focal - foot[:, 2])
    plane = _fit_plane(foot[:, :2], at_foot, touching, config)
    now = np.maximum(foot[:, :2] @ plane[:2] + plane[2], 0.3 * at_foot)
    return now * (focal - foot[:, 2]) / focal, touching.astype(float)


def _standing_foot(
    points: np.ndarray, scale: np.ndarray, still: float
) -> tuple[Float[np.ndarray, "f 3"], Bool[np.ndarray, " f"]]:
    """Return the lower foot (mean of ankle and toe) of each frame, and whether it stands still."""
    feet = (points[:, _ANKLES] + points[:, _TOES]) / 2
    rows = np.arange(len(points))
    lower = feet[..., 1].argmax(1)
    foot = feet[rows, lower]
    if len(points) == 1:
        return foot, np.ones(1, bool)
    moved = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1) / scale[1:, None]
    moved = np.minimum(np.concatenate([moved[:1], moved]), np.concatenate([moved, moved[-1:]]))
    # A foot that is clearly higher than in the frames around it belongs to a jump.
    lowest = maximum_filter1d(foot[:, 1], min(len(foot), 9), mode="nearest")
    grounded = foot[:, 1] > lowest - 0.12 * scale
    return foot, (moved[rows, lower] < still) & grounded


def _fit_plane(
    at: Float[np.ndarray, "f 2"], scale: np.ndarray, touching: np.ndarray, config: DistanceConfig
) -> Float[np.ndarray, " 3"]:
    """Fit (a, b, c), the scale a x + b y + c on the ground; b is 1 / camera height, a is about 0."""
    if touching.sum() < 2:
        return np.array([0.0, 0.0, float(np.median(scale))])
    xy, known = at[touching], scale[touching]
    middle = xy.mean(0)
    design = np.concatenate([xy - middle, np.ones((len(xy), 1))], 1)
    slope = 1 / config.camera_height
    sure = 0.04 * known.mean()  # standard deviation of the scale of one frame, pixels per meter
    prior = np.array([0.15 * slope, slope * (config.camera_height_spread - 1), 1e3])
    expected = np.array([0.0, slope, float(np.median(known))])
    # Neighboring frames are not independent: at most ten of a clip count.
    weight = min(1.0, 10 / len(xy)) / sure**2
    normal = weight * design.T @ design + np.diag(1 / prior**2)
    plane = np.linalg.solve(normal, weight * design.T @ known + expected / prior**2)
    return np.array([plane[0], plane[1], plane[2] - plane[:2] @ middle])


def _smoothed(value: np.ndarray, weight: np.ndarray, smooth: float) -> np.ndarray:
    """Smooth values by penalizing their second differences (Whittaker's smoother)."""
    f = len(value)
    if f < 3:
        return np.full(f, float((value * weight).sum() / weight.sum()))
    bands = np.zeros((3, f))  # lower bands of diag(weight) + smooth D'D, where D takes second differences
    bands[0] = weight
    for i, a in enumerate(_SECOND):
        for j, b in enumerate(_SECOND[i:]):
            bands[j, i : f - 2 + i] += smooth * a * b
    return solveh_banded(bands, weight * value, lower=True)
