"""Effects of a real camera on a rendered image: blur, vignette, color and grain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter


@dataclass(frozen=True)
class CameraEffects:
    """Effects shared by all images of a clip, including the background; only the grain differs.

    Attributes:
        blur: Standard deviation in pixels; below 0.25 there is no blur.
        gain: (s, s, 1) float32 vignette factors.
        saturation: Factor of the saturation.
        contrast: Factor of the contrast.
        lift: Brightness offset in gray levels.
        grain: Standard deviation in gray levels.
        seed: Seed of the grain.
    """

    blur: float
    gain: np.ndarray
    saturation: float
    contrast: float
    lift: float
    grain: float
    seed: int

    def apply(self, image: np.ndarray, frame: int) -> np.ndarray:
        """Apply the effects to an image.

        Args:
            image: (s, s, 3) uint8 sRGB.
            frame: Index of the image, which selects the grain.

        Returns:
            (3, s, s) uint8 sRGB.
        """
        x = image.astype(np.float32)
        if self.blur > 0.25:
            x = gaussian_filter(x, (self.blur, self.blur, 0))
        x = x * self.gain
        # Saturation around the gray value, contrast around middle gray.
        gray = x.mean(-1, keepdims=True)
        x = ((gray + (x - gray) * self.saturation) - 128) * self.contrast + (128 + self.lift)
        if self.grain > 0:
            rng = np.random.default_rng([self.seed, frame])
            x += rng.standard_normal((*x.shape[:2], 1), np.float32) * self.grain
        return np.clip(np.rint(x), 0, 255).astype(np.uint8).transpose(2, 0, 1).copy()


def random_camera_effects(rng: np.random.Generator, size: int) -> CameraEffects:
    """Draw random effects; half of the clips have no grain.

    Args:
        rng: Source of randomness.
        size: Height and width of the images in pixels.
    """
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    return CameraEffects(
        blur=float(rng.uniform(0, 0.6)),
        gain=(1 - rng.uniform(0, 0.25) * (x * x + y * y) / 2)[..., None].astype(np.float32),
        saturation=float(rng.uniform(0.75, 1.15)),
        contrast=float(rng.uniform(0.9, 1.1)),
        lift=float(rng.uniform(-6, 10)),
        grain=max(float(rng.uniform(-2.5, 2.5)), 0.0),
        seed=int(rng.integers(2**31)),
    )
