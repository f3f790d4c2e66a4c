"""Drawn clips: a square person that walks over a striped background, with all parts of a real clip."""

import numpy as np

from idol.clip import Clip, Pose
from idol.pose.joints import OPENPOSE_18


def drawn_clip(seed: int, frames: int = 4, size: int = 64, moving: bool = False) -> Clip:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (3, size, 1))
    background = np.broadcast_to(rows, (3, size, size)).astype(np.uint8).copy()
    video = np.broadcast_to(background, (frames, 3, size, size)).copy()
    mask = np.zeros((frames, size, size), bool)
    keypoints = np.zeros((frames, len(OPENPOSE_18), 3), np.float32)
    color = rng.integers(0, 256, (3, 1, 1)).astype(np.uint8)
    side, start = size // 3, int(rng.integers(2, size // 4))
    for f in range(frames):
        x, y = start + f, start
        mask[f, y : y + side, x : x + side] = True
        video[f, :, y : y + side, x : x + side] = color
        keypoints[f, :, 0] = x + rng.uniform(0, side, len(OPENPOSE_18))
        keypoints[f, :, 1] = y + rng.uniform(0, side, len(OPENPOSE_18))
        keypoints[f, :, 2] = 1
    depth = np.where(mask, np.linspace(0.2, 1, frames, dtype=np.float32)[:, None, None], 0).astype(np.float32)
    still_or_moving = np.broadcast_to(background, video.shape).copy() if moving else background
    return Clip(
        video=video,
        depth=depth,
        mask=mask,
        pose=Pose(keypoints, size, size),
        background=still_or_moving,
        fps=8.0,
        source=f"drawn:{seed}",
        subject=f"subject-{seed}",
    )
