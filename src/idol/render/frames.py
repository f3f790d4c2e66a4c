"""Work on all frames of a clip, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def each_frame(
    work: Callable[[int], T], count: int, progress: Callable[[int, int], None] | None = None
) -> list[T]:
    """The results of work(0) ... work(count - 1), in order.

    As many frames are worked on side by side as torch has threads, each by one thread: for work as small as
    this that is faster than many threads on one frame, most of all on a machine that is busy.

    Args:
        work: Gets the index of a frame.
        count: Number of frames.
        progress: Told (frames done, frames) after each.
    """
    threads = torch.get_num_threads()
    results: list[T] = []
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for result in pool.map(work, range(count)):
                results.append(result)
                if progress is not None:
                    progress(len(results), count)
    finally:
        torch.set_num_threads(threads)
    return results
