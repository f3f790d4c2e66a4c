"""Work on all frames of a clip, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_AHEAD = 8  # results for each thread that may wait for whoever takes them


def imap_frames(work: Callable[[int], T], count: int) -> Iterator[T]:
    """The results of work(0) ... work(count - 1), in order, one by one.

    As many frames are worked on side by side as torch has threads, each by one thread: for work as small as
    this that is faster than many threads on one frame, most of all on a machine that is busy. Work goes on
    while the results are used, but never more than a few frames ahead: a long clip takes no more memory than
    a short one. What work raises is raised in its turn, and ends the work on all other frames.

    Args:
        work: Gets the index of a frame.
        count: Number of frames.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    under_way: deque[Future[T]] = deque()
    try:
        for i in range(count):
            under_way.append(pool.submit(work, i))
            if len(under_way) > _AHEAD * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def map_frames(work: Callable[[int], T], count: int) -> list[T]:
    """The results of `imap_frames`, all at once."""
    return list(imap_frames(work, count))
