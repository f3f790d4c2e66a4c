"""The person in a video whose clean plate is known: whatever differs from the plate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

_SMOOTHING = 1.0  # pixels at a height of 256: single pixels of noise must not decide
_LEVELS = 18.0  # difference in 8-bit levels that counts
_CLOSING = 2  # pixels at a height of 256: joins what thin bands of plate-coloured clothing cut apart
_PART = 0.05  # smaller pieces than this share of the largest are noise


def differs_from_plate(
    video: UInt8[np.ndarray, "f 3 h w"], plate: UInt8[np.ndarray, "*p 3 h w"]
) -> Bool[np.ndarray, "f h w"]:
    """The person's mask by difference from the clean plate; needs a person who differs from it in colour.

    The largest difference over the three channels, smoothed, thresholded, closed, holes filled; pieces much
    smaller than the largest are dropped. Cast shadows are mostly, but not always, weaker than the threshold.

    Args:
        video: The clip.
        plate: (3, h, w) or (f, 3, h, w): the same scene without the person.
    """
    from scipy import ndimage

    scale = video.shape[2] / 256
    difference = np.abs(video.astype(np.float32) - plate).max(1)
    smooth = ndimage.gaussian_filter(difference, (0, _SMOOTHING * scale, _SMOOTHING * scale))
    return np.stack([_tidy(frame, max(1, round(_CLOSING * scale))) for frame in smooth > _LEVELS])


def _tidy(mask: np.ndarray, closing: int) -> np.ndarray:
    from scipy import ndimage

    padded = np.pad(mask, closing)  # closing must not eat at the frame's edge
    closed = ndimage.binary_closing(padded, iterations=closing)[closing:-closing, closing:-closing]
    pieces, count = ndimage.label(ndimage.binary_fill_holes(closed))
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    return np.isin(pieces, 1 + np.flatnonzero(sizes >= _PART * sizes.max()))
