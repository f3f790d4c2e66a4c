"""Latents of a complete data set, computed once: training then needs neither images nor the autoencoder.

One safetensors file per shard and copy (mirrored or not, one per variant of a random augmentation), half
precision, memory-mapped. File names contain hashes of the inputs (the autoencoder's weights, the image
settings, the shard's checksum), so an outdated cache is never read. Poses are stored as joints and drawn
per sample. A draft belongs to one reference frame: with drafts, each copy of a clip has a single reference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from idol.atomic_io import atomic_file
from idol.clip import Pose
from idol.config import to_dict
from idol.data.dataset import ImageConfig, SampleImages, choose_clip, generator, make_images, other_clips
from idol.data.shards import ShardEntry, ShardReader
from idol.progress import SILENT, ProgressCallback

VERSION = 3

Encode = Callable[[Tensor], Tensor]
"""(n, 3 or 6, h, w) images in [-1, 1] -> (n, c, h', w') raw latents of the frozen autoencoder."""


@dataclass(frozen=True)
class DatasetCopy:
    """One pass over a data set.

    Attributes:
        variant: Seed of the random augmentation.
        mirrored: Whether clips are mirrored left to right.
    """

    variant: int
    mirrored: bool


@dataclass(frozen=True)
class ClipLatents:
    """Latents of some frames and one reference of a cached clip; float16, joints float32.

    Attributes:
        video: (f, c, h, w).
        depth: (f, c, h, w), or None with one modality.
        background: (1, c, h, w) or (f, c, h, w).
        foreground: (c, h', w') of the reference image.
        foreground_mask: (s, s) bool.
        pose: Joints of the frames.
        foreground_pose: Joints of the reference image.
        draft: (m, f, c, h, w), or None without drafts.
    """

    video: Tensor
    depth: Tensor | None
    background: Tensor
    foreground: Tensor
    foreground_mask: Tensor
    pose: Pose
    foreground_pose: Pose
    draft: Tensor | None = None


def dataset_copies(variants: int, mirrored: bool) -> tuple[DatasetCopy, ...]:
    """List the copies of a data set.

    Args:
        variants: Augmented variants of each clip, at least 1.
        mirrored: Also mirror each variant.
    """
    flips = (False, True) if mirrored else (False,)
    return tuple(DatasetCopy(variant, flip) for flip in flips for variant in range(variants))


def weights_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of names, shapes and values of a module's state, equal on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        # float32, so that the precision in which a model was loaded does not matter
        array = tensor.detach().float().cpu().contiguous().numpy()
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class LatentCache:
    """Random access to the latents of a shard folder.

    Args:
        reader: The clips.
        folder: Folder of the latents.
        autoencoder: `weights_sha256` of the autoencoder.
        config: Sizes and augmentation of the images.
        copies: Copies of the data set; clip `i` of copy `k` has index `k * len(reader) + i`.

    Attributes:
        lengths: (clips,) frames of each clip of each copy.
    """

    def __init__(
        self,
        reader: ShardReader,
        folder: Path,
        autoencoder: str,
        config: ImageConfig,
        copies: Sequence[DatasetCopy] = (DatasetCopy(0, False),),
    ) -> None:
        self.reader, self.config, self.copies = reader, config, tuple(copies)
        made_from = json.dumps([VERSION, autoencoder, to_dict(config)], sort_keys=True)
        self.folder = folder / hashlib.sha256(made_from.encode()).hexdigest()[:16]
        lengths = [reader.entry(i).frames for i in range(len(reader))]
        self.lengths = np.asarray(lengths * len(self.copies))
        self._rows = [_rows(lengths, reader, i) for i in range(len(reader))]
        self._open: dict[Path, safe_open] = {}

    def __len__(self) -> int:
        return len(self.lengths)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}  # open files cannot be sent to worker processes

    def build(
        self,
        encode: Encode,
        *,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        chunk: int = 32,
        progress: ProgressCallback = SILENT,
    ) -> int:
        """Encode the files that are missing; of several processes each encodes its share.

        Args:
            encode: The frozen autoencoder.
            rank: Index of this process.
            world: Number of processes.
            workers: Worker processes that decode clips and make images.
            chunk: Images per call of `encode`.
            progress: Receives the clips encoded.

        Returns:
            Number of clips encoded by this process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        files = [(c, s) for c in self.copies for s in range(len(self.reader.shards))]
        missing = [(c, s) for c, s in files[rank::world] if not self._path(self.reader.shards[s], c).exists()]
        todo = [(i, c) for c, s in missing for i in self._clips_of(s)]
        loader = DataLoader(
            _ImageDataset(self.reader, self.config, todo),
            batch_size=None,
            num_workers=workers,
            collate_fn=_identity,
        )
        if todo:
            progress.stage(f"encoding {len(todo)} clips to {self.folder}")
        clips = _encoded_clips(loader, encode, chunk, progress)
        for copy, shard in missing:
            self._build_file(clips, copy, shard)
        return len(todo)

    def get(self, index: int, frames: Sequence[int], reference: int) -> ClipLatents:
        """Read the latents of some frames and of one reference frame.

        Args:
            index: Index of the clip, counted over all copies.
            frames: Indices of the frames, evenly spaced.
            reference: Index of the reference frame; ignored with drafts, where a copy has one reference.
        """
        copy, clip = divmod(index, len(self.reader))
        shard, start, row = self._rows[clip]
        file = self._file(self._path(self.reader.shards[shard], self.copies[copy]))
        step = frames[1] - frames[0] if len(frames) > 1 else 1
        # safetensors slices have no step: the window is read at once, and the step taken in memory
        window = slice(start + frames[0], start + frames[-1] + 1)
        # with drafts the file has one reference per clip, otherwise one per frame
        person = row if self.config.draft else start + reference
        first, last = (int(v) for v in file.get_slice("background_rows")[row])
        per_frame = (
            slice(first + frames[0], first + frames[-1] + 1) if last - first > 1 else slice(first, last)
        )
        two = self.config.latent_modalities == 2
        return ClipLatents(
            video=file.get_slice("video")[window][::step],
            depth=file.get_slice("depth")[window][::step] if two else None,
            background=file.get_slice("background")[per_frame][::step],
            foreground=file.get_slice("foreground")[person],
            foreground_mask=self._unpack(file.get_slice("foreground_mask")[person]),
            pose=_pose(file.get_slice("pose")[window][::step], self.config.size),
            foreground_pose=_pose(
                file.get_slice("foreground_pose")[person : person + 1], self.config.foreground_size
            ),
            draft=self._draft(file, window, step) if self.config.draft else None,
        )

    def _draft(self, file: safe_open, window: slice, step: int) -> Tensor:
        names = ("draft_video", "draft_depth")[: self.config.latent_modalities]
        return torch.stack([file.get_slice(name)[window][::step] for name in names])

    def _build_file(self, encoded: Iterator[dict[str, Tensor]], copy: DatasetCopy, shard: int) -> None:
        clips = [next(encoded) for _ in self._clips_of(shard)]
        tensors = {name: torch.cat([clip[name] for clip in clips]) for name in clips[0]}
        ends = torch.tensor([len(clip["background"]) for clip in clips]).cumsum(0)
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        # a still background has one row and a moving one a row per frame, so rows must be looked up
        tensors["background_rows"] = torch.stack([starts, ends], 1)
        path = self._path(self.reader.shards[shard], copy)
        with atomic_file(path) as new:
            save_file(tensors, new)

    def _clips_of(self, shard: int) -> list[int]:
        return [i for i, (s, _) in enumerate(self.reader.positions) if s == shard]

    def _path(self, shard: ShardEntry, copy: DatasetCopy) -> Path:
        mirrored = "-mirrored" if copy.mirrored else ""
        return self.folder / f"{shard.sha256[:16]}-{copy.variant}{mirrored}.safetensors"

    def _file(self, path: Path) -> safe_open:
        if path not in self._open:
            self._open[path] = safe_open(path, "pt").__enter__()
        return self._open[path]

    def _unpack(self, bits: Tensor) -> Tensor:
        size = self.config.foreground_size
        return torch.from_numpy(np.unpackbits(bits.numpy(), count=size * size)).view(size, size).bool()


class _ImageDataset(Dataset[SampleImages]):
    """Images of complete clips: every frame is also a reference; with drafts, one random frame is."""

    def __init__(self, reader: ShardReader, config: ImageConfig, todo: list[tuple[int, DatasetCopy]]) -> None:
        self.reader, self.config, self.todo = reader, config, todo
        self.others = other_clips([reader.entry(i).subject for i in range(len(reader))])

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, position: int) -> SampleImages:
        index, copy = self.todo[position]
        clip = self.reader[index]
        frames, rng = range(clip.frames), generator(copy.variant, index)
        if not self.config.draft:
            return make_images(clip, frames, frames, self.config, rng, copy.mirrored)
        elsewhere = choose_clip(self.others[index], self.config, rng)
        person = None if elsewhere is None else self.reader[elsewhere]
        reference = int(rng.integers((person or clip).frames))
        return make_images(clip, frames, [reference], self.config, rng, copy.mirrored, person)


def _encoded_clips(
    loader: DataLoader, encode: Encode, chunk: int, progress: ProgressCallback
) -> Iterator[dict[str, Tensor]]:
    for done, images in enumerate(loader, 1):
        rows = _encode_clip(images, encode, chunk)
        progress.step(done, len(loader))
        yield rows


def _encode_clip(made: SampleImages, encode: Encode, chunk: int) -> dict[str, Tensor]:
    """Encode a clip to the rows of its shard's file: one per frame; of `background` one, or one per frame."""
    stacks = {"video": made.video, "background": made.background, "foreground": made.foreground}
    stacks |= {"depth": made.depth} if made.depth is not None else {}
    if made.draft is not None:
        stacks |= dict(zip(("draft_video", "draft_depth"), made.draft, strict=False))
    rows = {}
    for name, stack in stacks.items():
        parts = torch.from_numpy(stack).split(chunk)
        encoded = [encode(part.float() / 127.5 - 1).half().cpu() for part in parts]
        rows[name] = torch.cat(encoded).contiguous()
    # eight pixels to a byte: otherwise masks would be as large as the latents
    bits = np.packbits(made.foreground_mask.reshape(len(made.foreground_mask), -1), axis=1)
    return rows | {
        "foreground_mask": torch.from_numpy(bits),
        "pose": torch.from_numpy(made.pose.keypoints),
        "foreground_pose": torch.from_numpy(made.foreground_pose.keypoints),
    }


def _pose(keypoints: Tensor, size: int) -> Pose:
    return Pose(keypoints.numpy(), height=size, width=size)


def _rows(lengths: list[int], reader: ShardReader, index: int) -> tuple[int, int, int]:
    """Return a clip's shard, the row of its first frame in that shard's file, and its position there."""
    shard, position = reader.positions[index]
    return shard, sum(lengths[index - position : index]), position


def _identity(made: Any) -> Any:  # a lambda could not be sent to the workers
    return made
