"""Inputs for measurements of cost, which does not depend on them."""

from __future__ import annotations

import numpy as np

from idol.clip import Pose


def dummy_inputs(size: int, frames: int) -> tuple[np.ndarray, np.ndarray, Pose]:
    """Return a noise image (3, h, w), a mask (h, w) and a standing pose that sways.

    Args:
        size: Height and width in pixels.
        frames: Number of frames of the pose.
    """
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, size, size), dtype=np.uint8)
    y, x = np.mgrid[:size, :size] / size
    mask = ((x - 0.5) / 0.15) ** 2 + ((y - 0.5) / 0.4) ** 2 < 1
    standing = [
        (50, 18), (50, 25), (44, 25), (42, 36), (41, 46), (56, 25), (58, 36), (59, 46), (46, 48), (46, 64),
        (46, 80), (54, 48), (54, 64), (54, 80), (49, 17), (51, 17), (47, 18), (53, 18),
    ]  # fmt: skip
    keypoints = np.ones((frames, 18, 3), np.float32)
    keypoints[..., :2] = np.array(standing) * size / 100
    keypoints[..., 0] += np.linspace(0, size * 0.05, frames)[:, None]
    return image, mask, Pose(keypoints.astype(np.float32), size, size)
