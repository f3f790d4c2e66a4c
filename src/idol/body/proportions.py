"""One person's motion on another's body, in space: directions of bones from one, lengths from the other.

Points are (f, 22, 3) in meters, Y up, in the order of `idol.body.lifter.POINTS`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from idol.body.rotations import unit

_HIPS = [8, 11]
# A point and the one that it hangs on (-1: the middle of the hips), parents first. The face goes by the nose.
_TREE = (
    (8, -1), (11, -1), (1, -1), (2, 1), (5, 1), (3, 2), (6, 5), (4, 3), (7, 6), (21, 4), (20, 7), (9, 8),
    (12, 11), (10, 9), (13, 12), (19, 10), (18, 13), (0, 1),
)  # fmt: skip
_FACE = [14, 15, 16, 17]
_LEGS = [11, 12, 13, 14]  # in `_TREE`: thighs and shins
_FEET = [10, 13, 18, 19]
_MIRROR = {2: 5, 3: 6, 4: 7, 8: 11, 9: 12, 10: 13, 19: 18, 21: 20}
_BETWEEN_EARS = (16, 17)


def bone_lengths(points: Float[np.ndarray, "f 22 3"]) -> Float[np.ndarray, " 19"]:
    """Return a person's lengths: of 18 bones, the median over frames and both sides, and of the face.

    Args:
        points: One person's, one frame or more.

    Returns:
        Meters, in the order of this module's tree; last the distance of the ears.
    """
    lengths = [float(np.median(np.linalg.norm(_from_parent(points, *pair), axis=-1))) for pair in _TREE]
    at = {joint: i for i, (joint, _) in enumerate(_TREE)}
    for right, left in _MIRROR.items():
        both = (lengths[at[right]] + lengths[at[left]]) / 2
        lengths[at[right]] = lengths[at[left]] = both
    ears = np.linalg.norm(points[:, _BETWEEN_EARS[0]] - points[:, _BETWEEN_EARS[1]], axis=-1)
    return np.array([*lengths, float(np.median(ears))])


def _from_parent(points: np.ndarray, joint: int, parent: int) -> np.ndarray:
    start = points[:, _HIPS].mean(1) if parent < 0 else points[:, parent]
    return points[:, joint] - start


def with_lengths(
    points: Float[np.ndarray, "f 22 3"], lengths: Float[np.ndarray, " 19"]
) -> Float[np.ndarray, "f 22 3"]:
    """Return the same posture, in the same place of the hips, of a body with other lengths.

    Args:
        points: Of the motion.
        lengths: As `bone_lengths` gives them.
    """
    hips, made = points[:, _HIPS].mean(1), points.copy()
    for (joint, parent), length in zip(_TREE, lengths, strict=False):
        at = hips if parent < 0 else made[:, parent]
        made[:, joint] = at + length * unit(_from_parent(points, joint, parent))
    larger = lengths[-1] / max(bone_lengths(points)[-1], 1e-6)
    made[:, _FACE] = made[:, :1] + larger * (points[:, _FACE] - points[:, :1])
    return made


def carry_over(
    driver: Float[np.ndarray, "f 22 3"], person: Float[np.ndarray, "22 3"], anchor: int | None = None
) -> Float[np.ndarray, "f 22 3"]:
    """Return the motion as another person would do it, beginning where that person stands.

    Bones keep their directions and take the person's lengths; the way of the hips is scaled by the legs. In
    the anchor frame the hips are where the person's are and the lower foot is at the height of the person's.

    Args:
        driver: The motion.
        person: Of one frame, such as a photo.
        anchor: The frame that is laid over the person; by default the one most like the person in posture.
    """
    lengths = bone_lengths(person[None])
    anchor = nearest_posture(driver, person) if anchor is None else anchor
    larger = lengths[_LEGS].sum() / bone_lengths(driver)[_LEGS].sum()
    made = with_lengths(driver, lengths)
    hips = driver[:, _HIPS].mean(1)
    made += (larger * (hips - hips[anchor]) - hips + person[_HIPS].mean(0))[:, None]
    made[..., 1] += person[_FEET, 1].min() - made[anchor, _FEET, 1].min()
    return made


def nearest_posture(driver: Float[np.ndarray, "f 22 3"], person: Float[np.ndarray, "22 3"]) -> int:
    """Return the frame whose bones point most as the person's do; the first of equals.

    Args:
        driver: The motion.
        person: One frame.
    """
    agreement = np.zeros(len(driver))
    for joint, parent in _TREE:
        there = unit(_from_parent(person[None], joint, parent))
        agreement += (unit(_from_parent(driver, joint, parent)) * there).sum(-1)
    return int(agreement.argmax())
