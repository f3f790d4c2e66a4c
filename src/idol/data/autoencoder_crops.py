"""Training data of autoencoders: square crops of clips' images."""

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
class CropConfig:
    """Size and content of the crops.

    Attributes:
        size: Height and width, pixels; at most the image's shorter side.
        colormap: Colormap of the depth images.
        stacked: Store depth as channels 3 to 5 of the frame; otherwise as a separate image.
    """

    size: int
    colormap: depth_codec.Colormap
    stacked: bool


class CropBatch(NamedTuple):
    """Crops of one training step.

    Attributes:
        pixels: (n, 3 or 6, h, w) in [-1, 1].
        person: (n, 1, h, w) bool, True on the person.
    """

    pixels: Tensor
    person: Tensor


class AutoencoderCrops(Dataset[CropBatch]):
    """Batches of a run by step: three crops per clip (two of six channels), from (seed, step) alone.

    Args:
        folder: Folder of clip shards.
        steps: Steps of the run.
        seed: Seed of the run.
        clips: Clips of a batch.
        config: Size and content of the crops.

    Raises:
        UserError: If the folder holds no clips.
    """

    def __init__(self, folder: Path, steps: int, seed: int, clips: int, config: CropConfig) -> None:
        self.steps, self.seed, self.clips, self.config = steps, seed, clips, config
        self.reader = ShardReader(folder)
        if len(self.reader) == 0:
            raise UserError(str(folder), "holds no clips", "make some with `idol synth`")

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> CropBatch:
        """Return the batch of one step."""
        return self.sample(np.random.default_rng((self.seed, step)), self.clips)

    def sample(self, random: np.random.Generator, clips: int) -> CropBatch:
        """Draw the crops of some clips.

        Args:
            random: Draws clips, frames and crops.
            clips: Number of clips.
        """
        picked = random.integers(len(self.reader), size=clips)
        views = []
        for i in picked:
            frame = int(random.integers(self.reader.entry(int(i)).frames))
            views += _views(self.reader.frames(int(i), [frame]), self.config, random)
        pixels, person = (torch.from_numpy(np.stack(part)) for part in zip(*views, strict=True))
        return CropBatch(pixels.float() / 127.5 - 1, person[:, None])


def _views(
    clip: Clip, config: CropConfig, random: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Crop a frame, its colored depth, and the person on gray or the background.

    Each is (3, size, size) uint8 with the person's mask. With stacked depth the frame has its depth in
    channels 3 to 5, and the person or background has an empty depth map there.
    """
    mask, colored = clip.mask[0], depth_codec.colorize(clip.require_depth()[0], config.colormap)
    if random.random() < 0.3:
        background = clip.background if clip.background.ndim == 3 else clip.background[0]
        third = background, np.zeros_like(mask)
    else:
        third = foreground_crop(clip.video[0], mask, clip.pose, clip.height)[:2]
    views = [(clip.video[0], mask), (colored, mask), third]
    if config.stacked:
        empty = depth_codec.colorize(np.zeros_like(clip.depth[0]), config.colormap)
        views = [
            (np.concatenate([clip.video[0], colored]), mask),
            (np.concatenate([third[0], empty]), third[1]),
        ]
    crops = [_crop(*view, config.size, random) for view in views]
    if random.random() < 0.5:
        return crops
    return [(image[..., ::-1].copy(), person[..., ::-1].copy()) for image, person in crops]


def _crop(
    image: np.ndarray, mask: np.ndarray, size: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Crop a square around a random pixel, in 70 % of cases one of the person.

    The person covers a small part of the frame and is what the autoencoder must reproduce best.
    """
    shape = np.array(mask.shape)
    size = min(size, *shape)
    on_person = mask.any() and random.random() < 0.7
    center = random.choice(np.argwhere(mask)) if on_person else random.integers(shape)
    y, x = np.clip(center - size // 2, 0, shape - size)
    cut = (Ellipsis, slice(y, y + size), slice(x, x + size))
    return image[cut], mask[cut]
