"""Many clips into shards: by any number of processes, resumable, always with the same result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from idol.data.shards import ShardWriter
from idol.errors import UserError
from idol.synth.splits import SPLITS, Split

SAMPLES_PER_SHARD = 32  # a multiple of the clips per person
_SETTINGS = "synth.json"
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1"
)


@dataclass(frozen=True)
class Order:
    """What a folder of synthetic clips holds; it may grow, nothing else may change."""

    seed: int
    split: Split
    size: int
    frames: int
    motion_dir: str | None


def generate(
    out: Path,
    clips: int,
    seed: int,
    *,
    size: int = 256,
    frames: int = 8,
    workers: int | None = None,
    split: Split = "train",
    motion_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw synthetic clips into shards.

    Shards that are there already are kept, so an interrupted run goes on where it stopped, and a finished set
    can be made longer. The result depends on neither the number of processes nor the interruptions.

    Args:
        out: Folder of the shards; made if missing.
        clips: How many.
        seed: Names the set; together with `split` it settles every clip.
        size: Pixels along a side.
        frames: Frames in a clip.
        workers: Processes; as many as there are cores by default.
        split: Whose people and motions: "train", "val" and "test" share neither.
        motion_dir: Folder of more motion files (.bvh, DeepMimic .txt, .npz), divided among the splits.
        progress: Called with (clips done, clips wanted) after each shard.

    Returns:
        `out`, with a manifest in it.

    Raises:
        UserError: If an argument is out of range, or `out` holds clips of other settings.
    """
    _check(clips, seed, size, frames, split, motion_dir, workers)
    order = Order(seed, split, size, frames, str(motion_dir.resolve()) if motion_dir else None)
    writer = ShardWriter(out, SAMPLES_PER_SHARD)
    _claim(writer, order)
    counts = [min(SAMPLES_PER_SHARD, clips - at) for at in range(0, clips, SAMPLES_PER_SHARD)]
    wanted = [(i, count) for i, count in enumerate(counts) if not _holds(writer, i, count)]
    done = clips - sum(count for _, count in wanted)
    if progress:
        progress(done, clips)
    for count in _run(out, order, wanted, workers or _cores()):
        done += count
        if progress:
            progress(done, clips)
    writer.finalise()
    return out


def _run(out: Path, order: Order, wanted: list[tuple[int, int]], workers: int) -> Iterator[int]:
    """Write the wanted (shard, clips); yields the clips of each shard as it is finished."""
    if not wanted:
        return
    from idol.synth.clips import motions_of

    # Downloads and complaints belong into this process, before any other starts.
    motions_of(order.split, Path(order.motion_dir) if order.motion_dir else None)
    with _one_thread_each(), ProcessPoolExecutor(min(workers, len(wanted)), get_context("spawn")) as pool:
        jobs = {pool.submit(write_shard, out, order, i, count): count for i, count in wanted}
        try:
            for job in as_completed(jobs):
                job.result()
                yield jobs[job]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_shard(out: Path, order: Order, shard: int, count: int) -> None:
    """Draw and write one shard of `count` clips."""
    from idol.synth.clips import make_clip

    motion_dir = Path(order.motion_dir) if order.motion_dir else None
    first = shard * SAMPLES_PER_SHARD
    clips = (
        make_clip(
            order.seed, index, size=order.size, frames=order.frames, split=order.split, motion_dir=motion_dir
        )
        for index in range(first, first + count)
    )
    ShardWriter(out, SAMPLES_PER_SHARD).write_shard(shard, clips)


def _holds(writer: ShardWriter, shard: int, count: int) -> bool:
    """Whether the shard is complete with `count` clips; one that is complete with fewer is removed."""
    if not writer.is_complete(shard):
        return False
    record = writer.folder / f"{shard:05d}.json"
    if len(json.loads(record.read_text())["samples"]) == count:
        return True
    record.unlink()
    return False


def _claim(writer: ShardWriter, order: Order) -> None:
    """Note the settings in the folder, or make sure that they are the ones there."""
    note = writer.folder / _SETTINGS
    if note.exists():
        found = json.loads(note.read_text())
        if found != asdict(order):
            differs = ", ".join(k for k, v in asdict(order).items() if found.get(k) != v)
            hint = "choose another folder, or the settings of its synth.json"
            raise UserError(str(writer.folder), f"holds synthetic clips with another {differs}", hint)
    else:
        partial = note.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(order), indent=1))
        partial.replace(note)


def _check(
    clips: int,
    seed: int,
    size: int,
    frames: int,
    split: str,
    motion_dir: Path | None,
    workers: int | None,
) -> None:
    for argument, value, least in (
        ("--clips", clips, 1),
        ("--seed", seed, 0),
        ("--size", size, 32),
        ("--frames", frames, 2),
        ("--workers", workers or 1, 1),
    ):
        if value < least:
            raise UserError(argument, f"{value}", f"give at least {least}")
    if split not in SPLITS:
        raise UserError("--split", split, f"choose one of {', '.join(SPLITS)}")
    if motion_dir is not None and not motion_dir.is_dir():
        raise UserError("--motion-dir", f"{motion_dir} is not a folder", "give a folder of motion files")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside get one thread each, the software rasteriser included."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
