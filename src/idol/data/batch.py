"""Batches for the training loop: from the latent cache, or from clips encoded at every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from idol.clip import Pose
from idol.data.dataset import (
    ImageConfig,
    SkeletonConfig,
    WindowConfig,
    choose_clip,
    draw,
    generator,
    images,
    other_clips,
)
from idol.data.latent_cache import Encode, LatentCache, copies
from idol.data.shards import ShardReader
from idol.errors import UserError


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from and what they are."""

    folders: tuple[Path, ...]
    """Shard folders."""
    cache: Path | None = None
    """Folder of the latent cache; None encodes images at every step."""
    images: ImageConfig = field(default_factory=ImageConfig)
    window: WindowConfig = field(default_factory=WindowConfig)
    skeleton: SkeletonConfig = field(default_factory=SkeletonConfig)
    flip: bool = False
    """Every clip also mirrored, left and right joints exchanged."""
    variants: int = 1
    """How often the cache holds each clip, with random augmentation of its own each time."""
    workers: int = 0
    """Processes that make batches; 0 makes them in the training process."""

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("folders: name at least one shard folder")
        if self.variants < 1 or self.workers < 0:
            raise ValueError(
                f"variants must be at least 1 and workers 0, got {self.variants}, {self.workers}"
            )


@dataclass(frozen=True)
class Batch:
    """What one training step is given; latents are the autoencoder's own, skeletons and images uint8."""

    latents: Tensor
    """(b, m, f, c, h, w)"""
    background: Tensor
    """(b, 1 or f, c, h, w)"""
    pose: Tensor
    """(b, f, 3, y, x) uint8 skeletons"""
    foreground: Tensor
    """(b, c, h', w') latents of the reference"""
    foreground_image: Tensor | None
    """(b, 3, s, s) uint8; None from the cache"""
    foreground_pose: Tensor
    """(b, 3, s, s) uint8 skeleton"""
    foreground_mask: Tensor
    """(b, 1, s, s) bool"""
    draft: Tensor | None = None
    """(b, m, f, c, h, w) latents of the draft; None without"""

    def to(self, device: torch.device) -> Batch:
        """All tensors on `device`."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class ImageBatch:
    """Images of a step whose latents are not cached; all uint8 but the mask."""

    frames: Tensor
    """(b, m, f, 3, y, x)"""
    background: Tensor
    """(b, 1 or f, 3, y, x)"""
    pose: Tensor
    foreground_image: Tensor
    foreground_pose: Tensor
    foreground_mask: Tensor
    draft: Tensor | None = None
    """(b, m, f, 3, y, x)"""

    def to(self, device: torch.device) -> ImageBatch:
        """All tensors on `device`."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=True))

    def encoded(self, encode: Encode, chunk: int = 32) -> Batch:
        """The batch with the latents of its images, `chunk` images encoded at once."""
        return Batch(
            latents=_encoded(self.frames, encode, chunk),
            background=_encoded(self.background, encode, chunk),
            pose=self.pose,
            foreground=_encoded(self.foreground_image, encode, chunk),
            foreground_image=self.foreground_image,
            foreground_pose=self.foreground_pose,
            foreground_mask=self.foreground_mask,
            draft=None if self.draft is None else _encoded(self.draft, encode, chunk),
        )


class CachedSamples(Dataset[Batch]):
    """Sample `number` of a run as a batch of one, from latent caches."""

    def __init__(self, caches: Sequence[LatentCache], config: DataConfig, seed: int) -> None:
        self.caches, self.config, self.seed = caches, config, seed
        places = [(cache, i) for cache in caches for i in range(len(cache))]
        self.places = [p for p in places if p[0].lengths[p[1]] >= config.window.span]
        self.lengths = _lengths([int(cache.lengths[i]) for cache, i in self.places], config)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Batch:
        """Sample `number`, counted over the whole run: it may be larger than the number of clips."""
        chosen = draw(number, self.seed, self.lengths, self.config.window)
        cache, index = self.places[chosen.clip]
        clip = cache.get(index, chosen.frames, chosen.reference)
        streams = [clip.video] if clip.depth is None else [clip.video, clip.depth]
        size = self.config.images
        return Batch(
            latents=torch.stack(streams).float()[None],
            background=clip.background.float()[None],
            pose=_skeleton(clip.pose, size.size, self.config.skeleton)[None],
            foreground=clip.foreground.float()[None],
            foreground_image=None,
            foreground_pose=_skeleton(clip.foreground_pose, size.foreground_size, self.config.skeleton),
            foreground_mask=clip.foreground_mask[None, None],
            draft=None if clip.draft is None else clip.draft.float()[None],
        )


class ImageSamples(Dataset[ImageBatch]):
    """Sample `number` of a run as a batch of one, from clips."""

    def __init__(self, readers: Sequence[ShardReader], config: DataConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        places = [(reader, i) for reader in readers for i in range(len(reader))]
        self.places = [p for p in places if p[0].entry(p[1]).frames >= config.window.span]
        self.lengths = _lengths([reader.entry(i).frames for reader, i in self.places], config)
        self.others = other_clips([reader.entry(i).subject for reader, i in self.places])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> ImageBatch:
        """Sample `number`, counted over the whole run: it may be larger than the number of clips."""
        config = self.config
        chosen = draw(number, self.seed, self.lengths, config.window)
        reader, index = self.places[chosen.clip]
        rng = generator(self.seed, number, 2)
        mirrored = config.flip and bool(rng.random() < 0.5)
        elsewhere = choose_clip(self.others[chosen.clip], config.images, rng)
        person, reference = None, chosen.reference
        if elsewhere is not None:
            other, place = self.places[elsewhere]
            person = other[place]
            reference = int(rng.integers(person.frames))
        made = images(reader[index], chosen.frames, [reference], config.images, rng, mirrored, person)
        streams = [made.video] if made.depth is None else [made.video, made.depth]
        return ImageBatch(
            frames=torch.from_numpy(np.stack(streams))[None],
            background=torch.from_numpy(made.background)[None],
            pose=_skeleton(made.pose, config.images.size, config.skeleton)[None],
            foreground_image=torch.from_numpy(made.foreground),
            foreground_pose=_skeleton(made.foreground_pose, config.images.foreground_size, config.skeleton),
            foreground_mask=torch.from_numpy(made.foreground_mask)[:, None],
            draft=None if made.draft is None else torch.from_numpy(made.draft)[None],
        )


Samples = CachedSamples | ImageSamples
AnyBatch = TypeVar("AnyBatch", Batch, ImageBatch)


def open_caches(config: DataConfig, autoencoder: str) -> list[LatentCache]:
    """The latent cache of every shard folder; `autoencoder` is `weights_sha256` of the autoencoder."""
    assert config.cache is not None
    made = copies(config.variants, config.flip)
    return [
        LatentCache(ShardReader(folder), config.cache, autoencoder, config.images, made)
        for folder in config.folders
    ]


def batches(
    samples: Samples, numbers: Iterator[list[int]], workers: int, pin: bool
) -> Iterator[Batch | ImageBatch]:
    """Batches of the given sample numbers, made ahead by `workers` processes."""
    loader: DataLoader = DataLoader(
        samples,
        batch_sampler=_Numbers(numbers),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
    )
    return iter(loader)


def collate(samples: list[AnyBatch]) -> AnyBatch:
    """One batch out of batches of one; still backgrounds are repeated where others move."""
    plates = max(sample.background.shape[1] for sample in samples)

    def joined(name: str) -> Tensor:
        parts = [getattr(sample, name) for sample in samples]
        if name == "background":
            parts = [p.expand(-1, plates, -1, -1, -1) for p in parts]
        return torch.cat(parts)

    fields = [f.name for f in dataclasses.fields(samples[0])]
    given = [name for name in fields if getattr(samples[0], name) is not None]
    return dataclasses.replace(samples[0], **{name: joined(name) for name in given})


class _Numbers:
    """Sample numbers of the batches to come, as a DataLoader asks for them."""

    def __init__(self, numbers: Iterator[list[int]]) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[list[int]]:
        return self.numbers


def _encoded(images: Tensor, encode: Encode, chunk: int) -> Tensor:
    flat = images.flatten(0, -4)
    latents = torch.cat([encode(part.float() / 127.5 - 1) for part in flat.split(chunk)])
    return latents.unflatten(0, images.shape[:-3])


def _skeleton(pose: Pose, size: int, config: SkeletonConfig) -> Tensor:
    return torch.from_numpy(config.draw(pose, size))


def _lengths(lengths: list[int], config: DataConfig) -> np.ndarray:
    if not lengths:
        folders = ", ".join(map(str, config.folders))
        raise UserError(
            "data.folders", f"no clip of {config.window.span} frames in {folders}", "add longer clips"
        )
    return np.asarray(lengths)


def _each(batch: AnyBatch, change: Callable[[Tensor], Tensor]) -> AnyBatch:
    tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return dataclasses.replace(batch, **{k: change(v) for k, v in tensors.items() if v is not None})
