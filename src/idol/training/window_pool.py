"""A growing pool of joint windows on disk, made by a background process while the lifter trains."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idol.atomic_io import atomic_file
from idol.config import to_dict
from idol.errors import UserError
from idol.synthesis.splits import Split

_POLL = 0.2  # seconds
_KIND = "windows.json"


@dataclass(frozen=True)
class WindowsConfig:
    """Training windows of a lifter.

    Attributes:
        motion_dir: Folder of more motion files, which are divided among the splits.
        frames: Frames per window.
        chunk: Windows per file ("chunk").
        chunks: Number of chunks of the complete pool.
        at_start: Number of chunks before the first step.
        steps_per_chunk: Steps after which another chunk is added.
        mix: Probability that limbs come from other recordings.
        invent: Probability that an arm takes a random pose.
        wander: Scale of the joint noise.
        seed: Seed of the windows.

    Raises:
        ValueError: If a count is not positive.
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
            raise ValueError("frames, chunk, chunks, at_start and steps_per_chunk must be at least 1")

    def chunks_at(self, step: int) -> int:
        """Return the number of chunks in the pool at a step (from 0)."""
        return min(self.at_start + step // self.steps_per_chunk, self.chunks)


class WindowPool:
    """The windows of a run; chunks are read into memory when the run reaches them.

    Use it as a context manager: a background process makes missing chunks ahead of need, and ends with the
    context. The windows in the pool at a step depend on the config only, so a resumed run sees the same.

    Args:
        folder: Folder of the chunks; existing chunks are reused.
        config: Settings of the windows.

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
            raise UserError(str(folder), "holds windows of other settings", "use another folder")
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
        """Draw windows from the pool at a step; wait for chunks that are not made yet.

        Args:
            step: Step of the run, from 0.
            count: Number of windows.
            rng: Random generator.

        Returns:
            Points in meters, Y up.

        Raises:
            RuntimeError: If the background process has failed.
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
    """Return the file of a chunk.

    Args:
        folder: Folder of the pool.
        number: Index of the chunk.
    """
    return folder / f"train-{number:05d}.npy"


def make_chunks(folder: Path, config: WindowsConfig) -> None:
    """Make the missing chunks of the training split.

    Args:
        folder: Folder of the chunks; each file is written atomically.
        config: Settings of the windows.
    """
    torch.set_num_threads(1)
    missing = [i for i in range(config.chunks) if not chunk_path(folder, i).exists()]
    run = multiprocessing.parent_process()
    for number in missing:
        if run is not None and not run.is_alive():
            return  # the training run was killed
        windows = split_windows(config, "train", number, config.chunk)
        with atomic_file(chunk_path(folder, number)) as partial:
            np.save(partial, windows)


def split_windows(config: WindowsConfig, split: Split, number: int, count: int) -> np.ndarray:
    """Make windows of a split.

    Args:
        config: Settings; `mix`, `invent` and `wander` apply to the training split only.
        split: Split whose motions and people are used.
        number: Index of the chunk.
        count: Number of windows.

    Returns:
        (count, frames, 22, 3) float16 meters, Y up.
    """
    from idol.synthesis.clips import STYLES, read_motions
    from idol.synthesis.joint_windows import joint_windows
    from idol.synthesis.motion.augment import Style

    style = Style(config.mix, config.invent, config.wander) if split == "train" else STYLES[split]
    motions = read_motions(split, config.motion_dir)
    return joint_windows(motions, split, config.seed, number, count=count, frames=config.frames, style=style)
