"""Correction of errors in single frames of an estimated pose: swapped sides and jumping joints.

Both occur mostly against the light and where limbs cross. Swaps are found as the shortest path (Viterbi 1967)
through the states "as estimated" and "swapped", first for the whole body, then for each pair of joints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from idol.clip import Pose
from idol.pose.joints import OPENPOSE_18, WHOLEBODY_133

Joints = NDArray[np.float32]

SWAP_COST = 0.04  # cost of a swapped frame, in person sizes: correct videos stay unchanged
JUMP_LIMIT = 0.12  # person sizes: a joint farther from its median over five frames is an outlier


def remove_outliers(pose: Pose) -> Pose:
    """Swap left and right back where they are swapped for a few frames, and drop joints that jump.

    Args:
        pose: Pose of one person; joints and whole frames may be missing.

    Returns:
        The corrected pose; joints that jumped are missing (confidence 0).
    """
    keypoints, size = pose.keypoints.copy(), _size(pose.keypoints)
    left, right = _sides(pose.keypoints.shape[1])
    for joints in (list(range(len(left))), *([i] for i in range(len(left)))):
        a, b = [left[i] for i in joints], [right[i] for i in joints]
        swapped = find_side_swaps(keypoints[:, a], keypoints[:, b], SWAP_COST * size)
        keypoints[:, a + b] = np.where(swapped[:, None, None], keypoints[:, b + a], keypoints[:, a + b])
    keypoints[find_jumps(keypoints, JUMP_LIMIT * size)] = 0
    return Pose(keypoints, pose.height, pose.width)


def find_side_swaps(left: Joints, right: Joints, cost_per_frame: float) -> NDArray[np.bool_]:
    """Find the frames in which two sets of joints are swapped.

    Args:
        left: (f, j, 3) x, y in pixels and confidence.
        right: (f, j, 3), the same joints of the other side.
        cost_per_frame: Mean movement per joint, in pixels, that swapping one frame must save.

    Returns:
        (f,) bool: the cheapest path through "as estimated" and "swapped".
    """
    states = np.stack([np.concatenate([left, right], 1), np.concatenate([right, left], 1)], 1)  # f state 2j 3
    state_costs = np.array([0.0, cost_per_frame])
    cost, came, last = state_costs, [], states[0]
    for now in states[1:]:
        step = cost[:, None] + _movement(last, now) + state_costs
        came.append(step.argmin(0))
        cost = step.min(0)
        last = np.where(now[..., 2:] > 0, now, last)  # a missing joint is expected where it was last seen
    path = [int(cost.argmin())]
    for best in reversed(came):
        path.append(int(best[path[-1]]))
    return np.array(path[::-1], bool)


def _movement(last: Joints, now: Joints) -> NDArray[np.float64]:
    """Return the (2, 2) mean movement in pixels, weighted by confidence, by previous and present state."""
    sure = last[:, None, :, 2] * now[None, :, :, 2]
    way = np.linalg.norm(last[:, None, :, :2] - now[None, :, :, :2], axis=-1)
    return (way * sure).sum(-1) / np.maximum(sure.sum(-1), 1e-9)


def find_jumps(keypoints: Joints, limit: float) -> NDArray[np.bool_]:
    """Find joints that jump away for at most two frames.

    A joint is compared with its median over five frames, which leaves steady motion of any speed alone.

    Args:
        keypoints: (f, k, 3) x, y in pixels and confidence.
        limit: Largest distance from the median in pixels.

    Returns:
        (f, k) bool.
    """
    seen = keypoints[..., 2] > 0
    filled = np.zeros(keypoints.shape[:2] + (2,), np.float32)
    times = np.arange(len(keypoints))
    for joint in np.flatnonzero(seen.any(0)):
        known = times[seen[:, joint]]
        for axis in range(2):
            filled[:, joint, axis] = np.interp(times, known, keypoints[known, joint, axis])
    middle = median_filter(filled, size=(5, 1, 1), mode="nearest")
    return (np.linalg.norm(filled - middle, axis=-1) > limit) & seen


def _sides(joints: int) -> tuple[list[int], list[int]]:
    """Return the indices of the left joints and of their right counterparts, without face points."""
    names = OPENPOSE_18 if joints == 18 else WHOLEBODY_133
    left = [i for i, name in enumerate(names) if name.startswith("left_")]
    return left, [names.index(names[i].replace("left_", "right_", 1)) for i in left]


def _size(keypoints: Joints) -> float:
    """Return the median over the frames of the larger side of the joints' bounding box, in pixels."""
    seen = [frame[frame[:, 2] > 0, :2] for frame in keypoints]
    sizes = [float(np.ptp(points, axis=0).max()) for points in seen if len(points)]
    return float(np.median(sizes)) if sizes else 0.0
