"""Sets of synthetic clips: written as shards by any number of processes, resumable and reproducible."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from idol.atomic_io import write_bytes
from idol.data.shards import ShardWriter
from idol.errors import UserError
from idol.progress import SILENT, ProgressCallback
from idol.synthesis.choices import DEPTHS, JOINT_SETS, DepthOf, JointSet
from idol.synthesis.splits import SPLITS, Split

_SETTINGS = "synth.json"
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1"
)


@dataclass(frozen=True)
class SynthSettings:
    """Settings of a set of synthetic clips, kept in its `synth.json`: the set may grow but not change.

    Attributes:
        seed: Seed of the set.
        split: Split whose people and motions are used.
        size: Height and width of the frames in pixels.
        frames: Frames per clip.
        samples_per_shard: Clips per shard.
        motions: Fingerprint of the motion files.
        depth: Kind of depth.
        joints: Joint layout.
    """

    seed: int
    split: Split
    size: int
    frames: int
    samples_per_shard: int
    motions: str
    depth: DepthOf = "person"
    joints: JointSet = "body"

    def to_json(self) -> dict[str, int | str]:
        """Return the content of `synth.json`, without the defaults of fields that older sets lack."""
        later = {"depth": "person", "joints": "body"}
        return {name: value for name, value in asdict(self).items() if later.get(name) != value}


def check_installed() -> None:
    """Check that the packages of the extra `synth`, which render clips, are installed.

    Raises:
        UserError: If one of them is missing.
    """
    absent = [name for name in ("anny", "moderngl", "OpenEXR") if find_spec(name) is None]
    if absent:
        raise UserError(
            "synth",
            f"{', '.join(absent)} not installed; they render the clips",
            "pip install 'idol-diffusion[synth]'",
        )


def synth(
    out: Path,
    clips: int,
    seed: int = 0,
    *,
    size: int = 256,
    frames: int = 8,
    workers: int | None = None,
    split: Split = "train",
    motion_dir: Path | None = None,
    samples_per_shard: int = 32,
    depth: DepthOf = "person",
    joints: JointSet = "body",
    progress: ProgressCallback = SILENT,
) -> Path:
    """Render synthetic clips of people into shards.

    Complete shards are kept: an interrupted run resumes, and a finished set can be extended. The result
    depends on neither the number of processes nor interruptions.

    Args:
        out: Folder of the shards; created if missing.
        clips: Number of clips in the set, at least 1.
        seed: Seed of the set, at least 0; with `split` it determines every clip.
        size: Height and width of the frames in pixels, at least 32.
        frames: Frames per clip, at least 2.
        workers: Number of processes; None takes one per core, 1 renders in this process.
        split: Split whose people and motions are used: "train", "val" and "test" share neither.
        motion_dir: Folder of more motion files (.bvh, DeepMimic .txt, .npz), divided among the splits.
        samples_per_shard: Clips per shard, ideally a multiple of the four clips that show one person.
        depth: "person" for depth of the person alone, "scene" for the whole frame; the images are the same.
        joints: "body" for OpenPose's 18 joints, "whole-body" for 133 with feet, face and hands.
        progress: Receives one step per clip.

    Returns:
        `out`, which then contains a manifest.

    Raises:
        UserError: If an argument is out of range, `out` holds a set of other settings, or a package is
            missing.
    """
    check_installed()
    least = {"clips": (clips, 1), "seed": (seed, 0), "size": (size, 32), "frames": (frames, 2)}
    _check(least | {"workers": (1 if workers is None else workers, 1)})
    for argument, value, choices in (
        ("split", split, SPLITS),
        ("depth", depth, DEPTHS),
        ("joints", joints, JOINT_SETS),
    ):
        _check_choice(argument, value, choices)
    # Downloads and errors happen in this process, before any worker starts.
    settings = SynthSettings(
        seed, split, size, frames, samples_per_shard, fingerprint(split, motion_dir), depth, joints
    )
    writer = ShardWriter(out, samples_per_shard)
    _claim(writer, settings)
    counts = [min(samples_per_shard, clips - at) for at in range(0, clips, samples_per_shard)]
    wanted = [(i, count) for i, count in enumerate(counts) if not _holds(writer, i, count)]
    done = clips - sum(count for _, count in wanted)
    progress.step(done, clips)
    for count in _run(out, settings, motion_dir, wanted, workers or _cores()):
        done += count
        progress.step(done, clips)
    writer.finalize()
    return out


def fingerprint(split: Split, motion_dir: Path | None) -> str:
    """Compute the SHA-256 of the names and contents of a split's motion files.

    Args:
        split: The split.
        motion_dir: Folder of more motion files, or None.

    Raises:
        UserError: If `motion_dir` is not a folder, or a package cannot be downloaded.
    """
    from idol.synthesis.clips import motion_paths

    digest = hashlib.sha256()
    for path in motion_paths(split, motion_dir):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _run(
    out: Path, settings: SynthSettings, motion_dir: Path | None, wanted: list[tuple[int, int]], workers: int
) -> Iterator[int]:
    """Write shards, given as (index, clips), and yield the number of clips of each as it is finished."""
    if not wanted:
        return
    if workers == 1:
        for shard, count in wanted:
            write_shard(out, settings, motion_dir, shard, count)
            yield count
        return
    with _one_thread_each(), ProcessPoolExecutor(min(workers, len(wanted)), get_context("spawn")) as pool:
        jobs = {pool.submit(write_shard, out, settings, motion_dir, i, count): count for i, count in wanted}
        try:
            for job in as_completed(jobs):
                job.result()
                yield jobs[job]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_shard(out: Path, settings: SynthSettings, motion_dir: Path | None, shard: int, count: int) -> None:
    """Render and write one shard.

    Args:
        out: Folder of the shards.
        settings: Settings of the set.
        motion_dir: Folder of more motion files, or None.
        shard: Index of the shard.
        count: Number of clips in it.
    """
    from idol.synthesis.clips import make_clip

    first = shard * settings.samples_per_shard
    clips = (
        make_clip(
            settings.seed,
            index,
            size=settings.size,
            frames=settings.frames,
            split=settings.split,
            motion_dir=motion_dir,
            depth=settings.depth,
            joints=settings.joints,
        )
        for index in range(first, first + count)
    )
    ShardWriter(out, settings.samples_per_shard).write_shard(shard, clips)


def _holds(writer: ShardWriter, shard: int, count: int) -> bool:
    """Tell whether a shard is complete with `count` clips; with another number it is invalidated."""
    if not writer.is_complete(shard):
        return False
    record = writer.folder / f"{shard:05d}.json"
    if len(json.loads(record.read_text())["samples"]) == count:
        return True
    record.unlink()
    return False


def _claim(writer: ShardWriter, settings: SynthSettings) -> None:
    """Write the settings to the folder, or check that they equal those already there."""
    file = writer.folder / _SETTINGS
    if file.exists():
        found, wanted = json.loads(file.read_text()), settings.to_json()
        if found != wanted:
            differs = ", ".join(k for k in found | wanted if found.get(k) != wanted.get(k))
            hint = "choose another folder, or the settings in its synth.json"
            raise UserError(str(writer.folder), f"holds synthetic clips with another {differs}", hint)
    else:
        write_bytes(file, json.dumps(settings.to_json(), indent=1).encode())


def _check(least: dict[str, tuple[int, int]]) -> None:
    for argument, (value, lowest) in least.items():
        if value < lowest:
            raise UserError(argument, f"is {value}", f"give at least {lowest}")


def _check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(argument, f"is {value!r}", f"choose one of {', '.join(choices)}")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit processes started in the block to one thread each, including the software rasterizer."""
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
