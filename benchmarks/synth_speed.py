"""Speed of rendering synthetic clips, in clips per minute.

    python benchmarks/synth_speed.py --workers 2

Measures whole shards, with encoding and checksums, after the processes have warmed up. With `--profile` it
also prints where one process spends its time.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from pathlib import Path

from idol.progress import ProgressCallback
from idol.synthesis import make_clip, synth


def main() -> None:
    """Warm up, measure and profile."""
    for variable in ("OMP_NUM_THREADS", "LP_NUM_THREADS"):  # as in the worker processes
        os.environ.setdefault(variable, "1")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--clips", type=int, default=128, help="clips that are timed")
    parser.add_argument("--size", type=int, default=256, help="pixels along a side")
    parser.add_argument("--profile", action="store_true", help="also say where one process spends its time")
    options = parser.parse_args()
    minute = clips_a_minute(options.clips, options.size, options.workers)
    image = f"{options.size} x {options.size}"
    print(f"{minute:.0f} eight-frame clips of {image} a minute, {options.workers} processes")
    if options.profile:
        profile(options.size)


class Timing(ProgressCallback):
    """Records when shards are finished.

    Args:
        ends: Receives (seconds, clips done).
    """

    def __init__(self, ends: list[tuple[float, int]]) -> None:
        self.ends = ends

    def step(self, done: int, total: int) -> None:
        """Record the time."""
        self.ends.append((time.perf_counter(), done))


def clips_a_minute(clips: int, size: int, workers: int) -> float:
    """Return clips per minute from the end of each process's first shard to the end of the last."""
    ends: list[tuple[float, int]] = []
    shard = 8
    with tempfile.TemporaryDirectory() as folder:
        synth(
            Path(folder) / "clips",
            clips + shard * workers,
            0,
            size=size,
            workers=workers,
            samples_per_shard=shard,
            progress=Timing(ends),
        )
    warm = ends[workers]  # the first entry is the start
    return 60 * (ends[-1][1] - warm[1]) / (ends[-1][0] - warm[0])


def profile(size: int, clips: int = 16) -> None:
    """Print the functions that take most of the processor's time."""
    make_clip(1, 0, size=size)
    timer = cProfile.Profile(time.process_time)
    timer.enable()
    for index in range(4, 4 + clips):
        make_clip(1, index, size=size)
    timer.disable()
    pstats.Stats(timer).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    main()
