"""Background subtraction: the person's mask in a video whose clean background is known."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

_BLUR_SIGMA = 1.0  # pixels at a height of 256: single noisy pixels must not decide
_MIN_DIFFERENCE = 18.0  # 8-bit levels: smaller differences from the background are noise
_MAX_SHADOW_DIFFERENCE = 10.0  # 8-bit levels: a pixel this close to a darkened background is shadow
_MIN_SHADOW_LIGHT = 0.25  # share of the light that remains in the darkest shadow
_CLOSING = 2  # pixels at a height of 256: rejoins parts that thin bands of similar color cut apart
_MIN_PART = 0.05  # components smaller than this share of the largest are noise


def subtract_background(
    video: UInt8[np.ndarray, "f 3 h w"], background: UInt8[np.ndarray, "*p 3 h w"]
) -> Bool[np.ndarray, "f h w"]:
    """Return the mask of the person, by difference from the clean background.

    A pixel is foreground if some channel differs by more than a threshold, unless its color is the
    background's, merely darkened: a shadow. Small gaps are closed, holes filled, and components much smaller
    than the largest dropped. The person must differ from the background in color.

    Args:
        video: (f, 3, h, w) uint8 sRGB.
        background: (3, h, w) or (f, 3, h, w) uint8 sRGB: the same scene without the person.

    Returns:
        (f, h, w) bool.
    """
    scale = video.shape[2] / 256
    still = background if background.ndim == 4 else background[None]
    frames, still = _blur(video, scale), _blur(still, scale)
    differs = np.abs(frames - still).max(1) > _MIN_DIFFERENCE
    person = differs & ~_is_shadow(frames, still)
    return np.stack([_clean_up(frame, max(1, round(_CLOSING * scale))) for frame in person])


def _blur(frames: np.ndarray, scale: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(frames.astype(np.float32), (0, 0, _BLUR_SIGMA * scale, _BLUR_SIGMA * scale))


def _is_shadow(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Find pixels that are the background times one factor below 1, in linear light."""
    # Display gamma 2.2; the offset keeps black pixels from dividing by zero.
    light, full = (np.power(x / 255, 2.2) + 1e-3 for x in (frames, background))
    share = (light * full).sum(1) / np.square(full).sum(1)
    darkened = 255 * np.power(share[:, None] * full, 1 / 2.2)
    alike = np.abs(frames - darkened).max(1) < _MAX_SHADOW_DIFFERENCE
    return alike & (share < 1) & (share > _MIN_SHADOW_LIGHT)


def _clean_up(mask: np.ndarray, closing: int) -> np.ndarray:
    from scipy import ndimage

    padded = np.pad(mask, closing)  # closing must not eat at the frame's edge
    closed = ndimage.binary_closing(padded, iterations=closing)[closing:-closing, closing:-closing]
    pieces, count = ndimage.label(ndimage.binary_fill_holes(closed))
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    return np.isin(pieces, 1 + np.flatnonzero(sizes >= _MIN_PART * sizes.max()))
