"""A growing pool of windows of joints on disk, made by a background process while the lifter trains."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idol.config import to_dict
from idol.errors import UserError
from idol.synthesis.splits import Split

_POLL = 0.2  # seconds
_KIND = "windows.json"


@dataclass(frozen=True)
class WindowsConfig:
    """Which windows a lifter learns from.

    Attributes:
        motion_dir: More motion files beside the packages', divided among the splits.
        frames: Frames in a window.
        chunk: Windows made in one go, a file each.
        chunks: How many such files the whole pool has.
        at_start: How many of them there are before the first step.
        steps_per_chunk: Steps after which a further one joins.
        mix: Chance that limbs come from other recordings.
        invent: Chance that an arm takes a pose nobody recorded.
        wander: Scale of the joint noise.
        seed: Of the windows.

    Raises:
        ValueError: If a number that counts things is not positive.
    """

    motion_dir: Path | None = None
    frames: int = 16
    chunk: int = 1000
    chunks: int = 80
    at_start: int = 4
    steps_per_chunk: int = 200
    mix: float = 0.8
    invent: float = 0.4
    wander: float = 1.7
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.frames, self.chunk, self.chunks, self.at_start, self.steps_per_chunk)
        if min(counts) < 1:
            raise ValueError("frames, chunk, chunks, at_start and steps_per_chunk are at least 1")

    def chunks_at(self, step: int) -> int:
        """Return how many chunks the pool has at a step (from 0)."""
        return min(self.at_start + step // self.steps_per_chunk, self.chunks)


class WindowPool:
    """The windows of a run, in memory as far as the run has come.

    Use it as a context: a process makes the files that are missing, ahead of need, and ends with it. Which
    windows there are at a step depends on the config alone, so a resumed run sees the same.

    Args:
        folder: Where the files are kept; files that are there already are used.
        config: Which windows.

    Raises:
        UserError: If the folder holds windows of another config.
    """

    def __init__(self, folder: Path, config: WindowsConfig) -> None:
        self.folder, self.config = folder, config
        self._loaded: list[Tensor] = []
        folder.mkdir(parents=True, exist_ok=True)
        same = {
            k: v for k, v in to_dict(config).items() if k not in ("chunks", "at_start", "steps_per_chunk")
        }
        kind = folder / _KIND
        if kind.exists() and json.loads(kind.read_text()) != same:
            raise UserError(str(folder), "holds windows of other settings", "choose another out")
        kind.write_text(json.dumps(same))

    def __enter__(self) -> WindowPool:
        context = multiprocessing.get_context("spawn")
        self._maker = context.Process(target=make_chunks, args=(self.folder, self.config), daemon=True)
        self._maker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._maker.terminate()
        self._maker.join()

    def draw(self, step: int, count: int, rng: torch.Generator) -> Float[Tensor, "n f 22 3"]:
        """Draw windows of the pool as it is at a step; wait for files that are not made yet.

        Args:
            step: Of the run, from 0 on.
            count: How many.
            rng: Source of randomness.

        Returns:
            Points in meters, Y up.

        Raises:
            RuntimeError: If the process that makes them has failed.
        """
        chunks = self.config.chunks_at(step)
        while len(self._loaded) < chunks:
            self._loaded.append(self._wait(len(self._loaded)))
        pick = torch.randint(chunks * self.config.chunk, (count,), generator=rng).tolist()
        return torch.stack(
            [self._loaded[i // self.config.chunk][i % self.config.chunk] for i in pick]
        ).float()

    def _wait(self, number: int) -> Tensor:
        path = chunk_path(self.folder, number)
        while not path.exists():
            if not self._maker.is_alive():
                raise RuntimeError(f"the process that makes windows ended before {path.name}")
            time.sleep(_POLL)
        return torch.from_numpy(np.load(path))


def chunk_path(folder: Path, number: int) -> Path:
    """Return the file of a chunk."""
    return folder / f"train-{number:05d}.npy"


def make_chunks(folder: Path, config: WindowsConfig) -> None:
    """Make all chunks of the training split that are not there yet.

    Args:
        folder: Where they go; each file appears whole.
        config: Which windows.
    """
    torch.set_num_threads(1)
    missing = [i for i in range(config.chunks) if not chunk_path(folder, i).exists()]
    run = multiprocessing.parent_process()
    for number in missing:
        if run is not None and not run.is_alive():
            return  # the run was killed: nobody waits for the rest
        windows = split_windows(config, "train", number, config.chunk)
        partial = folder / f".partial-{os.getpid()}.npy"
        np.save(partial, windows)
        partial.replace(chunk_path(folder, number))


def split_windows(config: WindowsConfig, split: Split, number: int, count: int) -> np.ndarray:
    """Make windows of a split.

    Args:
        config: Which; its freedom of performance counts for training alone, the other splits have their own.
        split: Whose motions and people.
        number: Of the chunk.
        count: How many.

    Returns:
        (count, frames, 22, 3) float16 meters, Y up.
    """
    from idol.synthesis.clips import STYLES, read_motions
    from idol.synthesis.joint_windows import joint_windows
    from idol.synthesis.motion.augment import Style

    style = Style(config.mix, config.invent, config.wander) if split == "train" else STYLES[split]
    motions = read_motions(split, config.motion_dir)
    return joint_windows(motions, split, config.seed, number, count=count, frames=config.frames, style=style)
