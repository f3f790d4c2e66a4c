"""How near the frames are to the true ones, pixel by pixel (PSNR) and window by window (SSIM)."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from idol.evaluation import optional_imports

PSNR_CAP = 100.0
"""What a frame gets that equals the true one, in dB: without a cap, one such frame makes a mean infinite. One
level of difference at one value of a 256 x 256 frame gives 101 dB, so that the cap touches nothing else."""


def psnr(generated: UInt8[np.ndarray, "f 3 h w"], true: UInt8[np.ndarray, "f 3 h w"]) -> float:
    """Peak signal-to-noise ratio, 10 log10(255^2 / MSE): of each whole RGB frame, then the mean over frames.

    Returns:
        dB, at most `PSNR_CAP`.
    """
    squared = np.square(generated.astype(np.int32) - true).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(255**2 / squared)
    return float(np.minimum(decibels, PSNR_CAP).mean())


def gray(video: UInt8[np.ndarray, "f 3 h w"]) -> UInt8[np.ndarray, "f h w"]:
    """Luma of Rec. 601, 0.299 R + 0.587 G + 0.114 B, in 8 bits.

    Raises:
        UserError: If OpenCV is not installed.
    """
    cv2 = optional_imports.module("cv2")
    images = np.ascontiguousarray(video.transpose(0, 2, 3, 1))
    return np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])


def ssim(generated: UInt8[np.ndarray, "f h w"], true: UInt8[np.ndarray, "f h w"]) -> float:
    """Structural similarity of gray frames, the mean over frames: what DisCo's tables call SSIM.

    The settings are scikit-image's own: uniform windows of 7 x 7, K1 = 0.01, K2 = 0.03, a range of 255,
    sample covariances. Single precision halves the time and moves the value by less than 1e-5.

    Args:
        generated: The judged clip, as `gray` makes it; at least 7 x 7.
        true: The true one.

    Returns:
        At most 1; 1 if equal.

    Raises:
        UserError: If scikit-image is not installed.
    """
    similarity = optional_imports.module("skimage.metrics").structural_similarity
    pairs = zip(generated.astype(np.float32), true.astype(np.float32), strict=True)
    return float(np.mean([similarity(a, b, data_range=255) for a, b in pairs]))
