"""Mistakes of single frames, seen from the frames around: left taken for right, joints put elsewhere.

Both happen mostly against the light and where limbs cross. Left and right are told apart by a shortest path
(Viterbi, 1967) through "as it is" and "exchanged", first for the whole body, then for each pair of joints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from idol.clip import Pose
from idol.pose.joints import OPENPOSE_18, WHOLEBODY_133

Joints = NDArray[np.float32]

SWAP_COST = (
    0.04  # of exchanging in one frame, in sizes of the person: a video without mistakes stays as it is
)
JUMP_LIMIT = 0.12  # sizes of the person by which no joint leaves the median of five frames


def remove_outliers(pose: Pose) -> Pose:
    """Exchanges left and right where the body else turns round for a few frames, and drops joints that leap.

    Args:
        pose: The poses of one person; joints and frames may be missing.

    Returns:
        The same with fewer mistakes; a joint that leapt away is missing (confidence 0).
    """
    keypoints, size = pose.keypoints.copy(), _size(pose.keypoints)
    left, right = _sides(pose.keypoints.shape[1])
    for joints in (list(range(len(left))), *([i] for i in range(len(left)))):
        a, b = [left[i] for i in joints], [right[i] for i in joints]
        exchanged = find_side_swaps(keypoints[:, a], keypoints[:, b], SWAP_COST * size)
        keypoints[:, a + b] = np.where(exchanged[:, None, None], keypoints[:, b + a], keypoints[:, a + b])
    keypoints[find_jumps(keypoints, JUMP_LIMIT * size)] = 0
    return Pose(keypoints, pose.height, pose.width)


def find_side_swaps(left: Joints, right: Joints, price: float) -> NDArray[np.bool_]:
    """Frames in which two sets of joints should exchange their names.

    Args:
        left: (f, j, 3) x, y, confidence.
        right: (f, j, 3), the same joints of the other side.
        price: Pixels of movement per joint that an exchange has to save.

    Returns:
        (f,) bool: the cheapest path through "as it is" and "exchanged".
    """
    options = np.stack(
        [np.concatenate([left, right], 1), np.concatenate([right, left], 1)], 1
    )  # [f, 2, 2j, 3]
    prices = np.array([0.0, price])
    cost, came, last = prices, [], options[0]
    for now in options[1:]:
        step = cost[:, None] + _movement(last, now) + prices
        came.append(step.argmin(0))
        cost = step.min(0)
        last = np.where(now[..., 2:] > 0, now, last)  # a joint out of sight is awaited where it was
    path = [int(cost.argmin())]
    for best in reversed(came):
        path.append(int(best[path[-1]]))
    return np.array(path[::-1], bool)


def _movement(last: Joints, now: Joints) -> NDArray[np.float64]:
    """(2, 2): mean way in pixels that joints move, weighed by confidence, by option before and option now."""
    sure = last[:, None, :, 2] * now[None, :, :, 2]
    way = np.linalg.norm(last[:, None, :, :2] - now[None, :, :, :2], axis=-1)
    return (way * sure).sum(-1) / np.maximum(sure.sum(-1), 1e-9)


def find_jumps(keypoints: Joints, limit: float) -> NDArray[np.bool_]:
    """(f, k) bool: joints farther than `limit` pixels from the median of theirs over five frames.

    Steady motion, however fast, is its own median; only what comes and goes within two frames is found.
    """
    seen = keypoints[..., 2] > 0
    filled = np.zeros(keypoints.shape[:2] + (2,), np.float32)
    times = np.arange(len(keypoints))
    for joint in np.flatnonzero(seen.any(0)):
        there = times[seen[:, joint]]
        for axis in range(2):
            filled[:, joint, axis] = np.interp(times, there, keypoints[there, joint, axis])
    middle = median_filter(filled, size=(5, 1, 1), mode="nearest")
    return (np.linalg.norm(filled - middle, axis=-1) > limit) & seen


def _sides(joints: int) -> tuple[list[int], list[int]]:
    """Indices of the left joints and of their right counterparts; faces of the whole body stay out of it."""
    names = OPENPOSE_18 if joints == 18 else WHOLEBODY_133
    left = [i for i, name in enumerate(names) if name.startswith("left_")]
    return left, [names.index(names[i].replace("left_", "right_", 1)) for i in left]


def _size(keypoints: Joints) -> float:
    """Median over the frames of the larger side of the box round the joints, in pixels."""
    seen = [frame[frame[:, 2] > 0, :2] for frame in keypoints]
    sizes = [float(np.ptp(points, axis=0).max()) for points in seen if len(points)]
    return float(np.median(sizes)) if sizes else 0.0
