"""Parallel work on the frames of a clip."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_AHEAD = 8  # finished results per thread that may wait for the consumer


def imap_frames(work: Callable[[int], T], count: int) -> Iterator[T]:
    """Yield the results of work(0) ... work(count - 1) in order.

    Torch's number of threads determines how many frames are processed at once, each by a single thread: for
    work this small that is faster than many threads on one frame, particularly on a busy machine. Work
    continues while results are consumed, but only a few frames ahead, so that memory does not grow with the
    length of the clip. An exception of `work` is raised in its turn and ends the work on all other frames.

    Args:
        work: Called with the index of a frame, from several threads.
        count: Number of frames.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    pending: deque[Future[T]] = deque()
    try:
        for i in range(count):
            pending.append(pool.submit(work, i))
            if len(pending) > _AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def map_frames(work: Callable[[int], T], count: int) -> list[T]:
    """Return the results of `imap_frames` as a list.

    Args:
        work: Called with the index of a frame, from several threads.
        count: Number of frames.
    """
    return list(imap_frames(work, count))
