"""Batches of the training loop, from the latent cache or from clips that are encoded at every step."""

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
    choose_sample,
    generator,
    make_images,
    other_clips,
)
from idol.data.latent_cache import Encode, LatentCache, dataset_copies
from idol.data.shards import ShardReader
from idol.errors import UserError


@dataclass(frozen=True)
class DataConfig:
    """Source and content of training samples.

    Attributes:
        folders: Folders of clip shards.
        cache: Folder of the latent cache; None encodes images at every step.
        images: Sizes and augmentation of images.
        window: Selection of frames.
        skeleton: Drawing style of skeletons.
        flip: Also use every clip mirrored, with left and right joints swapped.
        variants: Randomly augmented variants of each clip in the cache, at least 1.
        workers: Worker processes that make batches; 0 makes them in the training process.
    """

    folders: tuple[Path, ...]
    cache: Path | None = None
    images: ImageConfig = field(default_factory=ImageConfig)
    window: WindowConfig = field(default_factory=WindowConfig)
    skeleton: SkeletonConfig = field(default_factory=SkeletonConfig)
    flip: bool = False
    variants: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("folders is empty: give at least one shard folder")
        if self.variants < 1 or self.workers < 0:
            raise ValueError(
                f"variants must be at least 1 and workers at least 0, got {self.variants}, {self.workers}"
            )


@dataclass(frozen=True)
class Batch:
    """Inputs of one training step; latents are raw outputs of the autoencoder, not normalized.

    Attributes:
        latents: (b, m, f, c, h, w).
        background: (b, 1 or f, c, h, w) latents.
        pose: (b, f, 3, y, x) uint8 skeletons.
        foreground: (b, c, h', w') latents of the reference image.
        foreground_image: (b, 3, s, s) uint8 reference image; None from the cache.
        foreground_pose: (b, 3, s, s) uint8 skeleton of the reference image.
        foreground_mask: (b, 1, s, s) bool, True on the person.
        draft: (b, m, f, c, h, w) latents of the draft; None without drafts.
    """

    latents: Tensor
    background: Tensor
    pose: Tensor
    foreground: Tensor
    foreground_image: Tensor | None
    foreground_pose: Tensor
    foreground_mask: Tensor
    draft: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Copy all tensors to `device`."""
        return _map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class ImageBatch:
    """Images of a step whose latents are not cached; uint8, except for the mask.

    Attributes:
        frames: (b, m, f, k, y, x); k is 3, or 6 with stacked depth.
        background: (b, 1 or f, k, y, x).
        pose: (b, f, 3, y, x) skeletons.
        foreground_image: (b, k, s, s) reference image.
        foreground_pose: (b, 3, s, s) skeleton of the reference image.
        foreground_mask: (b, 1, s, s) bool, True on the person.
        draft: (b, m, f, k, y, x); None without drafts.
    """

    frames: Tensor
    background: Tensor
    pose: Tensor
    foreground_image: Tensor
    foreground_pose: Tensor
    foreground_mask: Tensor
    draft: Tensor | None = None

    def to(self, device: torch.device) -> ImageBatch:
        """Copy all tensors to `device`."""
        return _map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def encode(self, encode: Encode, chunk: int = 32) -> Batch:
        """Encode all images.

        Args:
            encode: The frozen autoencoder.
            chunk: Images per call of `encode`.
        """
        return Batch(
            latents=_encode(self.frames, encode, chunk),
            background=_encode(self.background, encode, chunk),
            pose=self.pose,
            foreground=_encode(self.foreground_image, encode, chunk),
            foreground_image=self.foreground_image,
            foreground_pose=self.foreground_pose,
            foreground_mask=self.foreground_mask,
            draft=None if self.draft is None else _encode(self.draft, encode, chunk),
        )


class CachedSamples(Dataset[Batch]):
    """Samples of a run from latent caches, each as a batch of one.

    Args:
        caches: Latent caches.
        config: Selection and drawing of samples; clips that are too short are left out.
        seed: Seed of the run.

    Raises:
        UserError: If no clip is long enough.
    """

    def __init__(self, caches: Sequence[LatentCache], config: DataConfig, seed: int) -> None:
        self.caches, self.config, self.seed = caches, config, seed
        clips = [(cache, i) for cache in caches for i in range(len(cache))]
        self.clips = [(cache, i) for cache, i in clips if cache.lengths[i] >= config.window.span]
        self.lengths = _lengths([int(cache.lengths[i]) for cache, i in self.clips], config)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Batch:
        """Return sample `index`, counted over the whole run: it may exceed the number of clips."""
        chosen = choose_sample(index, self.seed, self.lengths, self.config.window)
        cache, position = self.clips[chosen.clip]
        clip = cache.get(position, chosen.frames, chosen.reference)
        modalities = [clip.video] if clip.depth is None else [clip.video, clip.depth]
        size = self.config.images
        return Batch(
            latents=torch.stack(modalities).float()[None],
            background=clip.background.float()[None],
            pose=_skeleton(clip.pose, size.size, self.config.skeleton)[None],
            foreground=clip.foreground.float()[None],
            foreground_image=None,
            foreground_pose=_skeleton(clip.foreground_pose, size.foreground_size, self.config.skeleton),
            foreground_mask=clip.foreground_mask[None, None],
            draft=None if clip.draft is None else clip.draft.float()[None],
        )


class ImageSamples(Dataset[ImageBatch]):
    """Samples of a run from clips, each as a batch of one.

    Args:
        readers: Shard folders.
        config: Selection and images of samples; clips that are too short are left out.
        seed: Seed of the run.

    Raises:
        UserError: If no clip is long enough.
    """

    def __init__(self, readers: Sequence[ShardReader], config: DataConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        clips = [(reader, i) for reader in readers for i in range(len(reader))]
        self.clips = [(reader, i) for reader, i in clips if reader.entry(i).frames >= config.window.span]
        self.lengths = _lengths([reader.entry(i).frames for reader, i in self.clips], config)
        self.others = other_clips([reader.entry(i).subject for reader, i in self.clips])

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ImageBatch:
        """Return sample `index`, counted over the whole run: it may exceed the number of clips."""
        config = self.config
        chosen = choose_sample(index, self.seed, self.lengths, config.window)
        reader, position = self.clips[chosen.clip]
        rng = generator(self.seed, index, 2)  # 2: not the stream of `choose_sample`
        mirrored = config.flip and bool(rng.random() < 0.5)
        elsewhere = choose_clip(self.others[chosen.clip], config.images, rng)
        person, reference = None, chosen.reference
        if elsewhere is not None:
            other, other_position = self.clips[elsewhere]
            person = other[other_position]
            reference = int(rng.integers(person.frames))
        made = make_images(reader[position], chosen.frames, [reference], config.images, rng, mirrored, person)
        modalities = [made.video] if made.depth is None else [made.video, made.depth]
        return ImageBatch(
            frames=torch.from_numpy(np.stack(modalities))[None],
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
    """Open the latent cache of every shard folder.

    Args:
        config: Folders and images; `config.cache` is set.
        autoencoder: `weights_sha256` of the autoencoder.
    """
    assert config.cache is not None
    copies = dataset_copies(config.variants, config.flip)
    return [
        LatentCache(ShardReader(folder), config.cache, autoencoder, config.images, copies)
        for folder in config.folders
    ]


def batches(
    samples: Samples, indices: Iterator[list[int]], workers: int, pin: bool
) -> Iterator[Batch | ImageBatch]:
    """Load batches ahead of their use.

    Args:
        samples: The samples of the run.
        indices: Sample indices of each batch.
        workers: Worker processes; 0 loads in this process, on demand.
        pin: Load into page-locked memory, from which copies to a GPU are faster.
    """
    loader: DataLoader = DataLoader(
        samples,
        batch_sampler=_BatchSampler(indices),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
    )
    return iter(loader)


def collate(samples: list[AnyBatch]) -> AnyBatch:
    """Concatenate batches of one; still backgrounds are repeated over frames where others move."""
    frames = max(sample.background.shape[1] for sample in samples)

    def joined(name: str) -> Tensor:
        parts = [getattr(sample, name) for sample in samples]
        if name == "background":
            parts = [p.expand(-1, frames, -1, -1, -1) for p in parts]
        return torch.cat(parts)

    fields = [f.name for f in dataclasses.fields(samples[0])]
    present = [name for name in fields if getattr(samples[0], name) is not None]
    return dataclasses.replace(samples[0], **{name: joined(name) for name in present})


class _BatchSampler:
    """Adapter of an iterator to what DataLoader takes as a batch sampler."""

    def __init__(self, indices: Iterator[list[int]]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[list[int]]:
        return self.indices


def _encode(images: Tensor, encode: Encode, chunk: int) -> Tensor:
    flat = images.flatten(0, -4)  # b m f k y x -> (b m f) k y x
    # in chunks: the autoencoder's activations are much larger than its input and output
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


def _map_tensors(batch: AnyBatch, change: Callable[[Tensor], Tensor]) -> AnyBatch:
    tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return dataclasses.replace(batch, **{k: change(v) for k, v in tensors.items() if v is not None})
