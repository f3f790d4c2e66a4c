"""Squares cut out of clips' images: what an autoencoder learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idol.clip import Clip
from idol.clip import depth as depth_codec
from idol.data.shards import ShardReader
from idol.errors import UserError
from idol.pose.foreground_crop import foreground_crop


@dataclass(frozen=True)
class SquareConfig:
    """How squares are cut.

    Attributes:
        side: Pixels a side, or the image's smaller side if that is less.
        colormap: Color map of the depth images.
        stacked: Depth is behind the frame, in six channels; else it is an image of its own.
    """

    side: int
    colormap: depth_codec.Colormap
    stacked: bool


class Images(NamedTuple):
    """What one step learns from.

    Attributes:
        pixels: (n, 3 or 6, h, w) in [-1, 1].
        person: (n, 1, h, w) bool.
    """

    pixels: Tensor
    person: Tensor


class ImageBatches(Dataset[Images]):
    """Batch `step` of a run, three images a clip (two of six channels), from (seed, step) alone.

    Args:
        folder: Clip shards.
        steps: Of the run.
        seed: Of the run.
        clips: Read for each step.
        config: How squares are cut.

    Raises:
        UserError: If there are no clips.
    """

    def __init__(self, folder: Path, steps: int, seed: int, clips: int, config: SquareConfig) -> None:
        self.steps, self.seed, self.clips, self.config = steps, seed, clips, config
        self.reader = ShardReader(folder)
        if len(self.reader) == 0:
            raise UserError(str(folder), "holds no clips", "make some with `idol synth`")

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Images:
        """The images of one step."""
        return self.draw(np.random.default_rng((self.seed, step)), self.clips)

    def draw(self, random: np.random.Generator, clips: int) -> Images:
        """The images of so many clips."""
        picked = random.integers(len(self.reader), size=clips)
        views = []
        for i in picked:
            frame = int(random.integers(self.reader.entry(int(i)).frames))
            views += _views(self.reader.frames(int(i), [frame]), self.config, random)
        pixels, person = (torch.from_numpy(np.stack(part)) for part in zip(*views, strict=True))
        return Images(pixels.float() / 127.5 - 1, person[:, None])


def _views(
    clip: Clip, config: SquareConfig, random: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Squares of a frame, of its colored depth, and of the person on gray or of the background.

    Of each (3, side, side) uint8, and where the person is in it. Most squares lie about the person. In six
    channels the depth is behind the frame, and an empty one behind the third image.
    """
    mask, colored = clip.mask[0], depth_codec.colorize(clip.known_depth()[0], config.colormap)
    if random.random() < 0.3:
        still = clip.background if clip.background.ndim == 3 else clip.background[0]
        third = still, np.zeros_like(mask)
    else:
        third = foreground_crop(clip.video[0], mask, clip.pose, clip.height)[:2]
    views = [(clip.video[0], mask), (colored, mask), third]
    if config.stacked:
        empty = depth_codec.colorize(np.zeros_like(clip.depth[0]), config.colormap)
        views = [
            (np.concatenate([clip.video[0], colored]), mask),
            (np.concatenate([third[0], empty]), third[1]),
        ]
    squares = [_square(*view, config.side, random) for view in views]
    if random.random() < 0.5:
        return squares
    return [(image[..., ::-1].copy(), person[..., ::-1].copy()) for image, person in squares]


def _square(
    image: np.ndarray, mask: np.ndarray, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A square round a pixel of the person, or three times in ten anywhere."""
    size = np.array(mask.shape)
    side = min(side, *size)
    on_person = mask.any() and random.random() < 0.7
    middle = random.choice(np.argwhere(mask)) if on_person else random.integers(size)
    y, x = np.clip(middle - side // 2, 0, size - side)
    cut = (Ellipsis, slice(y, y + side), slice(x, x + side))
    return image[cut], mask[cut]
