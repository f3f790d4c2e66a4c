"""The person in a video whose clean plate is known: whatever differs from the plate and is not its shadow."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

_SMOOTHING = 1.0  # pixels at a height of 256: single pixels of noise must not decide
_LEVELS = 18.0  # difference from the plate in 8-bit levels that counts
_SHADOW_LEVELS = 10.0  # a pixel this near to the darkened plate is shadow
_DARKEST = 0.25  # light that a shadow leaves at least
_CLOSING = 2  # pixels at a height of 256: joins what thin bands of plate-colored clothing cut apart
_PART = 0.05  # smaller pieces than this share of the largest are noise


def subtract_background(
    video: UInt8[np.ndarray, "f 3 h w"], plate: UInt8[np.ndarray, "*p 3 h w"]
) -> Bool[np.ndarray, "f h w"]:
    """The person's mask by difference from the clean plate; needs a person who differs from it in color.

    That is where some channel differs by more than a threshold, unless the color is the plate's own, merely
    darkened: a shadow. Small gaps are closed, holes filled, pieces much smaller than the largest dropped.

    Args:
        video: The clip.
        plate: (3, h, w) or (f, 3, h, w): the same scene without the person.
    """
    scale = video.shape[2] / 256
    frames, still = _smooth(video, scale), _smooth(plate if plate.ndim == 4 else plate[None], scale)
    differs = np.abs(frames - still).max(1) > _LEVELS
    person = differs & ~_shadowed(frames, still)
    return np.stack([_tidy(frame, max(1, round(_CLOSING * scale))) for frame in person])


def _smooth(frames: np.ndarray, scale: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(frames.astype(np.float32), (0, 0, _SMOOTHING * scale, _SMOOTHING * scale))


def _shadowed(frames: np.ndarray, plate: np.ndarray) -> np.ndarray:
    """Where a frame is the plate times one number per pixel, in linear light, that darkens it."""
    light, full = (np.power(x / 255, 2.2) + 1e-3 for x in (frames, plate))
    share = (light * full).sum(1) / np.square(full).sum(1)
    darkened = 255 * np.power(share[:, None] * full, 1 / 2.2)
    alike = np.abs(frames - darkened).max(1) < _SHADOW_LEVELS
    return alike & (share < 1) & (share > _DARKEST)


def _tidy(mask: np.ndarray, closing: int) -> np.ndarray:
    from scipy import ndimage

    padded = np.pad(mask, closing)  # closing must not eat at the frame's edge
    closed = ndimage.binary_closing(padded, iterations=closing)[closing:-closing, closing:-closing]
    pieces, count = ndimage.label(ndimage.binary_fill_holes(closed))
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    return np.isin(pieces, 1 + np.flatnonzero(sizes >= _PART * sizes.max()))
