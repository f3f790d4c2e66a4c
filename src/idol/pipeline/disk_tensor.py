"""Tensors of a whole clip that lie on disk and are read a few frames at a time: clips have any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from tempfile import SpooledTemporaryFile

import torch
from torch import Tensor

from idol.errors import UserError

_IN_MEMORY = 2**20  # bytes: what is smaller never sees a disk


class FrameStore:
    """A tensor with a frame dimension, of which slices of frames are written and read.

    More than a megabyte is kept in an unnamed temporary file in the folder TMPDIR, which is deleted with the
    store. Shape, dtype and device are those of the first slice that is written.

    Args:
        frames: Length of the clip.
        dim: The frame dimension, not negative.
    """

    def __init__(self, frames: int, dim: int) -> None:
        self.frames, self.dim = frames, dim
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed when collected
        self._like: Tensor | None = None
        self._written = 0

    @classmethod
    def of(cls, parts: Iterable[Tensor], frames: int, dim: int) -> FrameStore:
        """Store consecutive parts of a clip.

        Args:
            parts: Tensors, at least one.
            frames: Length of the clip.
            dim: The frame dimension.

        Raises:
            ValueError: If the parts have fewer or more frames than the clip.
        """
        return cls.levels_of(([part] for part in parts), frames, dim)[0]

    @classmethod
    def levels_of(cls, parts: Iterable[Sequence[Tensor]], frames: int, dim: int) -> tuple[FrameStore, ...]:
        """Store consecutive parts of a clip that consist of several tensors each, e.g. one per resolution.

        Args:
            parts: For each part its tensors, at least one part.
            frames: Length of the clip.
            dim: The frame dimension of all tensors.

        Returns:
            One store for each tensor of a part.

        Raises:
            ValueError: If the parts have fewer or more frames than the clip.
        """
        stores: tuple[FrameStore, ...] = ()
        done = 0
        for part in parts:
            stores = stores or tuple(cls(frames, dim) for _ in part)
            count = part[0].shape[dim]
            for store, level in zip(stores, part, strict=True):
                store[done : done + count] = level
            done += count
        if done != frames:
            raise ValueError(f"parts: found {done} frames, expected {frames}")
        return stores

    def __setitem__(self, frames: slice, value: Tensor) -> None:
        """Write some of the frames.

        Args:
            frames: Consecutive ones; all before them must have been written.
            value: Of the store's shape, with as many frames.

        Raises:
            ValueError: If the value has another shape, or frames before these have not been written.
            UserError: If the disk is full.
        """
        if self._like is None:
            self._like = value.narrow(self.dim, 0, 1).clone()
        first, count = self._span(frames)
        shape = list(self._like.shape)
        shape[self.dim] = count
        if list(value.shape) != shape:
            raise ValueError(f"value: found shape {tuple(value.shape)}, expected {tuple(shape)}")
        if first > self._written:
            raise ValueError(f"frames: found {frames}, expected {self._written} next")
        rows = value.detach().to("cpu", self._like.dtype).movedim(self.dim, 0).contiguous()
        try:
            self._file.seek(first * self._row_bytes)
            self._file.write(rows.flatten().view(torch.uint8).numpy().data)
        except OSError as wrong:
            raise UserError(
                "frames", f"the disk is full ({wrong})", "point TMPDIR to a larger disk"
            ) from wrong
        self._written = max(self._written, first + count)

    def __getitem__(self, frames: slice) -> Tensor:
        """Return a copy of some of the frames.

        Raises:
            ValueError: If they have not been written.
        """
        first, count = self._span(frames)
        if self._like is None or first + count > self._written:
            raise ValueError(f"frames: found {frames}, of which {self._written} have been written")
        self._file.seek(first * self._row_bytes)
        data = bytearray(self._file.read(count * self._row_bytes))
        like = self._like.movedim(self.dim, 0)
        rows = torch.frombuffer(data, dtype=like.dtype).view(count, *like.shape[1:])
        return rows.movedim(0, self.dim).contiguous().to(like.device)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole tensor; something must have been written."""
        assert self._like is not None, "written before it is read"
        return (*self._like.shape[: self.dim], self.frames, *self._like.shape[self.dim + 1 :])

    @property
    def _row_bytes(self) -> int:
        assert self._like is not None, "written before it is read"
        return self._like.numel() * self._like.element_size()

    def _span(self, frames: slice) -> tuple[int, int]:
        first, end, step = frames.indices(self.frames)
        if step != 1 or end <= first:
            raise ValueError(f"frames: found {frames}, expected consecutive ones")
        return first, end - first


PerFrame = Tensor | FrameStore
"""A tensor that holds for all frames of a clip as it is, or a store with an entry for each frame."""


def of_frames(value: PerFrame, frames: slice) -> Tensor:
    """Return what holds for some of the frames.

    Args:
        value: A tensor is returned as it is.
        frames: Consecutive frames.
    """
    return value[frames] if isinstance(value, FrameStore) else value


def split_frames(frames: int, size: int) -> Iterator[slice]:
    """Yield the frames of a clip in consecutive parts.

    Args:
        frames: Length of the clip.
        size: Frames in a part; the last may have fewer.
    """
    for start in range(0, frames, size):
        yield slice(start, min(start + size, frames))
