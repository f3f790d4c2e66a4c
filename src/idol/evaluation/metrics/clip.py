"""Metrics on the arrays of one clip: depth L2, silhouette, joints, LPIPS and flicker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from idol.clip.depth import PERSON_FLOOR
from idol.evaluation.networks.lpips import LPIPS

SILHOUETTE = PERSON_FLOOR / 2
"""Depth above which a pixel belongs to the person: half of the smallest depth that a person can have. Exact
depth is 0 or at least 0.2, but depth decoded from colors is noisy around 0.
"""

REACH = 0.1
"""Largest distance of a correctly re-detected joint, as a share of the person's height."""

SEEN = 0.3
"""Smallest confidence of a re-detected joint that counts as detected."""


def depth_l2(
    generated: Float[np.ndarray, "f h w"],
    reference: Float[np.ndarray, "f h w"],
    where: np.ndarray | None = None,
) -> float:
    """Return the mean squared difference of two depth maps in [0, 1]: "depth L2" of the paper.

    Args:
        generated: Depth to score.
        reference: Depth of the reference clip.
        where: (f, h, w) bool: the pixels that count; default all.

    Returns:
        NaN if `where` is empty.
    """
    squared = np.square(generated.astype(np.float64) - reference)
    return mean(squared if where is None else squared[where])


def silhouette(depth: Float[np.ndarray, "f h w"]) -> Bool[np.ndarray, "f h w"]:
    """Return the person's mask, read off a `person` depth map in [0, 1]."""
    return depth > SILHOUETTE


def iou(a: Bool[np.ndarray, "f h w"], b: Bool[np.ndarray, "f h w"]) -> float:
    """Return the intersection over union of two masks, averaged over frames; two empty frames agree (1).

    Args:
        a: One mask.
        b: The other.
    """
    both, either = (a & b).sum((1, 2)), (a | b).sum((1, 2))
    return float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).mean())


def person_height(mask: Bool[np.ndarray, "f h w"]) -> float:
    """Return the height in pixels of the person's mask in the frame where it is tallest; 0 if it is empty."""
    rows = mask.any(axis=2)
    heights = [np.ptp(np.flatnonzero(row)) + 1 for row in np.atleast_2d(rows) if row.any()]
    return float(max(heights, default=0))


def joints_reached(
    detected: Float[np.ndarray, "f k 3"], driving: Float[np.ndarray, "f k 3"], height: float
) -> float:
    """Return the share of driving joints re-detected within `REACH` of the person's height (PCK).

    Args:
        detected: Joints detected in the generated video: x, y in pixels and confidence; below `SEEN`, missed.
        driving: Joints of the driving pose; those of confidence 0 do not count.
        height: The person's height in pixels.

    Returns:
        In [0, 1]; NaN if no joint counts.
    """
    asked = driving[..., 2] > 0
    distance = np.linalg.norm(detected[..., :2] - driving[..., :2], axis=-1)
    right = (distance <= REACH * height) & (detected[..., 2] >= SEEN)
    return mean(right[asked])


@torch.no_grad()
def lpips(
    metric: LPIPS, generated: Sequence[np.ndarray], reference: UInt8[np.ndarray, "f 3 h w"], batch: int = 4
) -> list[float]:
    """Return the mean LPIPS of the frames of several versions of one clip.

    Args:
        metric: The LPIPS network.
        generated: The versions, (f, 3, h, w) uint8 each.
        reference: The reference video, whose features are computed once for all versions.
        batch: Frames per forward pass.
    """
    totals = torch.zeros(len(generated))
    for start in range(0, len(reference), batch):
        frames = slice(start, start + batch)
        expected = metric.features(_centered(reference[frames], metric.shift.device))
        for i, video in enumerate(generated):
            differ = np.flatnonzero((video[frames] != reference[frames]).any((1, 2, 3)))  # equal ones: 0
            if differ.size:
                found = metric.features(_centered(video[frames][differ], metric.shift.device))
                totals[i] += metric.distance(found, [x[differ] for x in expected]).sum().cpu()
    return (totals / len(reference)).tolist()


def flicker(
    video: UInt8[np.ndarray, "f 3 h w"], person: Bool[np.ndarray, "f h w"], margin: int | None = None
) -> float:
    """Return how much the image changes outside the person: mean |difference| of successive frames.

    Args:
        video: The clip, of a static camera.
        person: The person in the reference clip, so that every version is measured at the same pixels.
        margin: Pixels by which the mask is dilated; default 1/32 of the frame's height.

    Returns:
        8-bit levels in [0, 255]; NaN with fewer than two frames.
    """
    from scipy.ndimage import maximum_filter

    margin = person.shape[1] // 32 if margin is None else margin
    grown = maximum_filter(person, size=(1, 2 * margin + 1, 2 * margin + 1))
    outside = ~(grown[1:] | grown[:-1])
    change = np.abs(np.diff(video.astype(np.int16), axis=0)).mean(1)
    return mean(change[outside])


def _centered(frames: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(frames).to(device).float() / 127.5 - 1


def mean(values: np.ndarray) -> float:
    """Return the mean; NaN if there are no values."""
    return float(values.mean()) if values.size else float("nan")
