"""Rendering speed of 2.5D videos, in frames per second.

    python benchmarks/render_speed.py

A synthetic figure walks across a synthetic background, with relative depth as a generated clip has it. A run
separates the layers, renders every frame and encodes the video, like `idol render`. "unhindered" is the rate
by processor time, as if every thread had a core to itself; on a busy machine it is the one to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from idol.clip import Clip, Pose
from idol.rendering import render

GOAL = 15.0
"""Frames per second of parallax video at 512 x 512 on two cores."""


def main() -> None:
    """Measure, print and write."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    clip = drawn_person(options.frames, options.source)
    size = {"height": options.size, "width": options.size}
    runs: dict[str, Callable[[Path], object]] = {
        "parallax, sway": lambda out: render(clip, out, ("parallax",), **size),
        "parallax, orbit": lambda out: render(clip, out, ("parallax",), path="orbit", **size),
        "stereo, side by side": lambda out: render(clip, out, ("stereo",), **size),
        "stereo, anaglyph": lambda out: render(clip, out, ("stereo",), stereo="anaglyph", **size),
    }
    rates = {name: [_rates(run, options.frames) for _ in range(options.repeat)] for name, run in runs.items()}
    result = {
        "frames": options.frames,
        "source": options.source,
        "size": options.size,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "goal": GOAL,
        "frames_per_second": {name: statistics.median(r[0] for r in each) for name, each in rates.items()},
        "unhindered": {name: statistics.median(r[1] for r in each) for name, each in rates.items()},
        "runs": rates,
    }
    _print(result)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def drawn_person(frames: int, size: int) -> Clip:
    """Return a clip of a rounded figure of a person's height that walks across a textured background."""
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.normal(size=(3, size, size)), (0, 2, 2))
    background = np.clip(128 + 250 * texture, 0, 255).astype(np.uint8)
    y, x = np.mgrid[:size, :size] / size
    video, depth = np.repeat(background[None], frames, 0), np.zeros((frames, size, size), np.float32)
    keypoints = np.zeros((frames, 18, 3), np.float32)
    for i in range(frames):
        middle = 0.4 + 0.2 * i / frames
        away = ((x - middle) / 0.16) ** 2 + ((y - 0.52) / 0.4) ** 2
        inside = away < 1
        depth[i][inside] = 0.3 + 0.5 * np.sqrt(1 - away[inside])
        video[i][:, inside] = np.clip(background[:, inside] // 3 + 120 * depth[i][inside], 0, 255)
        keypoints[i, [1, 10, 13]] = [[middle * size, row * size, 1] for row in (0.27, 0.89, 0.89)]
    return Clip(video, depth, depth > 0, Pose(keypoints, size, size), background, fps=10.0)


def _rates(run: Callable[[Path], object], frames: int) -> tuple[float, float]:
    """Return frames per second by the clock, and by processor time spread evenly over the threads."""
    with tempfile.TemporaryDirectory() as folder:
        start, busy = time.perf_counter(), time.process_time()
        run(Path(folder) / "views")
        busy = (time.process_time() - busy) / torch.get_num_threads()
        return frames / (time.perf_counter() - start), frames / busy


def _print(result: dict) -> None:
    title = f"{result['frames']} frames of {result['source']}² as {result['size']}²"
    caption = f"{result['threads']} threads, load {result['load']:.1f}, goal {GOAL:.0f}"
    table = Table("video", "frames a second", "unhindered", title=title, caption=caption)
    for name, rate in result["frames_per_second"].items():
        table.add_row(name, f"{rate:.1f}", f"{result['unhindered'][name]:.1f}")
    Console().print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--source", type=int, default=256, help="size of the clip")
    parser.add_argument("--size", type=int, default=512, help="size of the videos")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, help="torch's own choice by default")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
