"""Image fidelity: PSNR and SSIM of the frames against the reference frames."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from idol.evaluation import optional_imports

PSNR_CAP = 100.0
"""PSNR in dB of a frame that equals the reference; without a cap one such frame makes the mean infinite. A
difference of one level at one value of a 256 x 256 frame gives 101 dB, so that the cap affects nothing else.
"""


def psnr(generated: UInt8[np.ndarray, "f 3 h w"], reference: UInt8[np.ndarray, "f 3 h w"]) -> float:
    """Return the peak signal-to-noise ratio, 10 log10(255^2 / MSE), of each RGB frame, averaged over frames.

    Args:
        generated: The frames to score.
        reference: The reference frames.

    Returns:
        dB, at most `PSNR_CAP`.
    """
    squared = np.square(generated.astype(np.int32) - reference).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(255**2 / squared)
    return float(np.minimum(decibels, PSNR_CAP).mean())


def gray(video: UInt8[np.ndarray, "f 3 h w"]) -> UInt8[np.ndarray, "f h w"]:
    """Return luma (Rec. 601: 0.299 R + 0.587 G + 0.114 B) in 8 bits.

    Raises:
        UserError: If OpenCV is not installed.
    """
    cv2 = optional_imports.require("cv2")
    images = np.ascontiguousarray(video.transpose(0, 2, 3, 1))
    return np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])


def ssim(generated: UInt8[np.ndarray, "f h w"], reference: UInt8[np.ndarray, "f h w"]) -> float:
    """Return the structural similarity of gray frames, averaged over frames; the SSIM of DisCo's tables.

    The settings are scikit-image's defaults: uniform windows of 7 x 7, K1 = 0.01, K2 = 0.03, a range of 255,
    sample covariances. Single precision halves the time and changes the value by less than 1e-5.

    Args:
        generated: Frames to score, from `gray`; at least 7 x 7.
        reference: Reference frames, from `gray`.

    Returns:
        At most 1, which is reached by equal frames.

    Raises:
        UserError: If scikit-image is not installed.
    """
    similarity = optional_imports.require("skimage.metrics").structural_similarity
    pairs = zip(generated.astype(np.float32), reference.astype(np.float32), strict=True)
    return float(np.mean([similarity(a, b, data_range=255) for a, b in pairs]))
