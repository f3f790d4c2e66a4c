"""Poses over time: fill short gaps and smooth jitter."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from idol.clip import Pose


@dataclass(frozen=True)
class GapReport:
    """What `fill_gaps` changed.

    Attributes:
        filled_joints: Number of interpolated joints, over all frames.
        filled_frames: Indices of frames that had no joint at all and now have some.
        empty_frames: Indices of frames that still have none, because their gap is too long.
        longest_gap: Length in frames of the longest run without any joint, before filling.
    """

    filled_joints: int
    filled_frames: tuple[int, ...]
    empty_frames: tuple[int, ...]
    longest_gap: int

    def __str__(self) -> str:
        parts = [f"{self.filled_joints} joints interpolated"]
        if self.filled_frames:
            parts.append(f"{len(self.filled_frames)} frames without a pose filled in")
        if self.empty_frames:
            parts.append(f"{len(self.empty_frames)} frames left without a pose")
        return ", ".join(parts)


def fill_gaps(pose: Pose, max_gap: int) -> tuple[Pose, GapReport]:
    """Interpolate joints that are missing for a short time.

    Gaps inside the clip are filled linearly; at its ends the nearest visible joint is repeated.

    Args:
        pose: The pose.
        max_gap: Length in frames of the longest gap to fill; longer ones stay missing.

    Returns:
        The filled pose, and a report of the changes.
    """
    keypoints = pose.keypoints.copy()
    before = pose.visible
    for joint in range(keypoints.shape[1]):
        _fill_joint(keypoints[:, joint], before[:, joint], max_gap)
    after = keypoints[..., 2] > 0
    was_empty, is_empty = (np.logical_and.reduce(~seen, axis=1) for seen in (before, after))
    report = GapReport(
        filled_joints=int((after & ~before).sum()),
        filled_frames=tuple(np.flatnonzero(was_empty & ~is_empty).tolist()),
        empty_frames=tuple(np.flatnonzero(is_empty).tolist()),
        longest_gap=max((stop - start for start, stop in runs(was_empty)), default=0),
    )
    return Pose(keypoints, pose.height, pose.width), report


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
    slope /= np.maximum(variance, 1e-9)[:, None]
    return mean_xy - slope * mean_t[:, None]
