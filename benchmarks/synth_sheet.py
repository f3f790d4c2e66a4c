"""Contact sheets of synthetic clips: `python benchmarks/synth_sheet.py train docs/synth_train.png`.

Each row is a clip: three of its frames, the depth and joints of the middle one, the background.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

from idol.clip import Clip, depth
from idol.pose import skeleton
from idol.synthesis import make_clip

_CELL = 112


def main() -> None:
    """Render clips of different people and write them as one sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", choices=("train", "val", "test"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=5, help="take each fifth clip: another person each time")
    parser.add_argument("--motion-dir", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("LP_NUM_THREADS", "1")
    rows = []
    for index in range(0, options.clips * options.every, options.every):
        clip = make_clip(options.seed, index, split=options.split, motion_dir=options.motion_dir)
        rows.append(row(clip))
        print(clip.source, flush=True)
    half = (len(rows) + 1) // 2
    left, right = (np.concatenate(part) for part in (rows[:half], rows[len(rows) - half :]))
    Image.fromarray(np.concatenate([left, right], 1)).save(options.out, optimize=True)


def row(clip: Clip) -> np.ndarray:
    """Return one clip as a strip of six cells, (cell, 6 cell, 3) uint8."""
    first, middle, last = 0, clip.frames // 2, clip.frames - 1
    colored = depth.colorize(clip.depth[middle])
    joints = skeleton.draw(clip.pose.select([middle]), clip.height, clip.width)[0]
    over = np.maximum(clip.video[middle] // 3, joints)
    cells = [*clip.video[[first, middle, last]], colored, over, clip.background]
    images = (Image.fromarray(cell.transpose(1, 2, 0)) for cell in cells)
    shrunk = [np.asarray(image.resize((_CELL, _CELL), Image.Resampling.LANCZOS)) for image in images]
    return np.concatenate(shrunk, 1)


if __name__ == "__main__":
    main()
