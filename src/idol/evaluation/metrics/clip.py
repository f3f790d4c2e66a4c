"""The measures, on the arrays of one clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from idol.clip.depth import PERSON_FLOOR
from idol.evaluation.networks.lpips import LPIPS

SILHOUETTE = PERSON_FLOOR / 2
"""Depth above which a pixel counts as the person. True depth is exactly 0 or at least 0.2; depth that was
decoded from colors is noisy round 0, so the line is drawn half-way."""

REACH = 0.1
"""A re-detected joint is right within this share of the person's height."""

SEEN = 0.3
"""Confidence from which a re-detected joint counts as found."""


def depth_l2(
    generated: Float[np.ndarray, "f h w"], true: Float[np.ndarray, "f h w"], where: np.ndarray | None = None
) -> float:
    """Mean squared difference of two depth maps in [0, 1]: the paper's "depth L2".

    Args:
        generated: Depth to judge.
        true: Depth of the true clip.
        where: (f, h, w) bool: only there; default the whole frame. NaN if it is empty.
    """
    squared = np.square(generated.astype(np.float64) - true)
    return mean(squared if where is None else squared[where])


def silhouette(depth: Float[np.ndarray, "f h w"]) -> Bool[np.ndarray, "f h w"]:
    """Where the person is, read off a person depth map."""
    return depth > SILHOUETTE


def iou(a: Bool[np.ndarray, "f h w"], b: Bool[np.ndarray, "f h w"]) -> float:
    """Intersection over union of two masks, frame by frame, averaged; two empty frames agree (1)."""
    both, either = (a & b).sum((1, 2)), (a | b).sum((1, 2))
    return float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).mean())


def person_height(mask: Bool[np.ndarray, "f h w"]) -> float:
    """Height in pixels of the person: of its mask in the frame where it is tallest; 0 if there is none."""
    rows = mask.any(axis=2)
    heights = [np.ptp(np.flatnonzero(row)) + 1 for row in np.atleast_2d(rows) if row.any()]
    return float(max(heights, default=0))


def joints_reached(
    detected: Float[np.ndarray, "f k 3"], driving: Float[np.ndarray, "f k 3"], height: float
) -> float:
    """Share of the driving joints that re-detection finds within `REACH` of the person's height (PCK).

    Args:
        detected: Joints found in the judged video: x, y in pixels and confidence; one below `SEEN` is missed.
        driving: Joints that were asked for; those of confidence 0 are not asked for.
        height: The person's height in pixels.

    Returns:
        A share in [0, 1]; NaN if no joint was asked for.
    """
    asked = driving[..., 2] > 0
    distance = np.linalg.norm(detected[..., :2] - driving[..., :2], axis=-1)
    right = (distance <= REACH * height) & (detected[..., 2] >= SEEN)
    return mean(right[asked])


@torch.no_grad()
def lpips(
    metric: LPIPS, judged: Sequence[np.ndarray], true: UInt8[np.ndarray, "f 3 h w"], batch: int = 4
) -> list[float]:
    """LPIPS of each frame to the true one, averaged, for several videos (f, 3, h, w) uint8 of the same clip.

    The network is given [-1, 1], as it was trained, and sees the true frames once.
    """
    totals = torch.zeros(len(judged))
    for start in range(0, len(true), batch):
        frames = slice(start, start + batch)
        expected = metric.features(_centered(true[frames], metric.shift.device))
        for i, video in enumerate(judged):
            differ = np.flatnonzero((video[frames] != true[frames]).any((1, 2, 3)))  # equal ones: 0
            if differ.size:
                found = metric.features(_centered(video[frames][differ], metric.shift.device))
                totals[i] += metric.between(found, [x[differ] for x in expected]).sum().cpu()
    return (totals / len(true)).tolist()


def flicker(
    video: UInt8[np.ndarray, "f 3 h w"], person: Bool[np.ndarray, "f h w"], margin: int | None = None
) -> float:
    """How much the image changes outside the person: mean |difference| of successive frames.

    Args:
        video: The clip, with a still camera.
        person: The person in the *true* clip, so that every judged video is measured at the same pixels.
        margin: The mask is grown by so many pixels; default a thirty-second of the frame's height.

    Returns:
        8-bit levels, 0 (nothing changes) to 255; NaN with fewer than two frames.
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
    """The mean of any numbers; NaN if there are none."""
    return float(values.mean()) if values.size else float("nan")
