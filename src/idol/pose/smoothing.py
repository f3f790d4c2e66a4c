"""Poses over time: fill short gaps and smooth jitter."""

import numpy as np
from jaxtyping import Float

from idol.clip import Pose


def fill_gaps(pose: Pose, max_gap: int) -> Pose:
    """Interpolate joints that are missing for a short time.

    Gaps inside the clip are filled linearly; at its ends the nearest visible joint is repeated.

    Args:
        pose: The pose.
        max_gap: Length in frames of the longest gap to fill; longer ones stay missing.

    Returns:
        The filled pose.
    """
    keypoints = pose.keypoints.copy()
    for joint in range(keypoints.shape[1]):
        _fill_joint(keypoints[:, joint], pose.visible[:, joint], max_gap)
    return Pose(keypoints, pose.height, pose.width)


def _fill_joint(track: np.ndarray, seen: np.ndarray, max_gap: int) -> None:
    """Fill the short gaps of one joint's (f, 3) track in place."""
    times = np.flatnonzero(seen)
    if len(times) == 0:
        return
    for start, stop in runs(~seen):
        if stop - start <= max_gap:
            for axis in range(3):
                track[start:stop, axis] = np.interp(np.arange(start, stop), times, track[times, axis])


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the runs of True in (f,) flags as (start, stop), stop excluded."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def smooth(pose: Pose, sigma: float = 1.0) -> Pose:
    """Smooth jitter: move each joint to a straight line fitted to its neighborhood in time.

    This is local linear regression with a Gaussian kernel in time, weighted by confidence. It leaves uniform
    motion unchanged and has no lag. Missing joints stay missing and do not influence their neighbors.

    Args:
        pose: The pose.
        sigma: Standard deviation of the kernel in frames; 0 changes nothing.

    Returns:
        The smoothed pose, confidences unchanged.
    """
    if sigma <= 0:
        return pose
    frames = np.arange(pose.frames, dtype=np.float64)
    keypoints = pose.keypoints.copy()
    confidence = pose.keypoints[..., 2].astype(np.float64)
    for i in range(pose.frames):
        # Beyond 4 sigma the weights are negligible.
        near = slice(max(0, i - int(4 * sigma) - 1), i + int(4 * sigma) + 2)
        dt = frames[near] - i
        w = np.exp(-0.5 * (dt / sigma) ** 2)[:, None] * confidence[near]  # (window, joint)
        keypoints[i, :, :2] = _fit_line(dt, w, pose.keypoints[near, :, :2].astype(np.float64))
    keypoints[~pose.visible] = pose.keypoints[~pose.visible]
    return Pose(keypoints, pose.height, pose.width)


def _fit_line(
    dt: Float[np.ndarray, " w"], weights: Float[np.ndarray, "w k"], xy: Float[np.ndarray, "w k 2"]
) -> Float[np.ndarray, "k 2"]:
    """Evaluate at dt = 0 the weighted least-squares line through the points of each joint."""
    total = np.maximum(weights.sum(axis=0), 1e-12)
    mean_t = (weights * dt[:, None]).sum(axis=0) / total
    mean_xy = (weights[..., None] * xy).sum(axis=0) / total[:, None]
    centered = dt[:, None] - mean_t
    variance = (weights * centered**2).sum(axis=0) / total
    slope = (weights[..., None] * centered[..., None] * (xy - mean_xy)).sum(axis=0) / total[:, None]
    # A single visible frame has no variance: its slope is 0 / 1e-9 = 0.
    slope /= np.maximum(variance, 1e-9)[:, None]
    return mean_xy - slope * mean_t[:, None]
