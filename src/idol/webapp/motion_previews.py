"""Small animations of the motions, for the page's gallery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idol.clip.video import read_video
from idol.pose.skeleton import draw
from idol.prepare import builtin_motions
from idol.webapp import options

SIDE, FPS, LONGEST = 160, 10, 20


def motion_previews(folder: Path) -> dict[str, Path]:
    """Write a looping WebP of each motion of `options.motions()`: a skeleton, or the video itself.

    Args:
        folder: Folder to write them to.

    Returns:
        The files by the motion's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, spec in options.motions().items():
        made[name] = folder / f"{name}.webp"
        _write(made[name], _frames(spec))
    return made


def _frames(spec: str) -> UInt8[np.ndarray, "f 3 h w"]:
    kind, _, name = spec.partition(":")
    if kind == "builtin":
        pose = builtin_motions.builtin_pose(name, None, float(FPS))
        return draw(pose.select(slice(0, LONGEST)), SIDE, SIDE, stick_width=2.5, radius=2.5, at="model")
    return read_video(spec, LONGEST, FPS, max_side=2 * SIDE).frames


def _write(path: Path, frames: UInt8[np.ndarray, "f 3 h w"]) -> None:
    f, _, h, w = frames.shape
    side = min(h, w)
    y, x = (h - side) // 2, (w - side) // 2
    square = np.ascontiguousarray(frames[:, :, y : y + side, x : x + side].transpose(0, 2, 3, 1))
    images = [Image.fromarray(frame).resize((SIDE, SIDE)) for frame in square]
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 // FPS, loop=0, method=0)
