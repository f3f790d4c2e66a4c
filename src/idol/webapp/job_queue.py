"""The desk that takes orders: one is worked on at a time, the others wait, each may be called off."""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from idol.errors import UserError
from idol.progress import Preview
from idol.provenance import Provenance
from idol.webapp.requests import Order, Result, check_order, make
from idol.webapp.upload_limits import Limits

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline

TICK = 0.4
"""Seconds between two looks at a job."""
IMAGE_EVERY = 1.0
"""Seconds from one image of what forms to the next: decoding one delays the job."""


class Cancelled(Exception):
    """The visitor has called the job off."""


@dataclass(frozen=True)
class Progress:
    """How a job stands.

    Attributes:
        stage: What is being done.
        ahead: Jobs that come first; 0 once it is worked on.
        done: Pieces of the stage's work behind it, of `total`: windows denoised, frames decoded.
        total: 0 while that is not counted.
        elapsed: Seconds since it was ordered.
        left: Seconds it will probably take yet; None if not known.
        notes: What the visitor should know about what they gave.
        image: The middle frame and its depth as they form, (3, h, 2 w) uint8 sRGB; None if not yet.
    """

    stage: str
    ahead: int
    done: int
    total: int
    elapsed: float
    left: float | None
    notes: tuple[str, ...]
    image: np.ndarray | None = None


class Pace:
    """Learns from finished jobs how long a phase takes."""

    def __init__(self) -> None:
        self._rates: dict[tuple[int, bool], float] = {}

    @staticmethod
    def work(order: Order) -> tuple[tuple[tuple[int, bool], float], ...]:
        """Return the phases of an order: what their pace is learned under, and their size."""
        f = float(order.frames)
        preparing = ((0, order.is_filmed), f if order.is_filmed else 1.0)
        return (preparing, ((1, False), f * order.steps), ((2, False), f), ((3, False), f))

    def learn(self, order: Order, phase: int, seconds: float) -> None:
        """A phase of such an order took so long."""
        key, size = self.work(order)[phase]
        self._rates[key] = seconds / size

    def left(self, order: Order, phase: int, spent: float, share: float = 0.0) -> float | None:
        """Seconds until the order is done, None if nothing like it was made before.

        Args:
            order: What is made.
            phase: The one that runs.
            spent: Seconds in it so far.
            share: How much of it is known to be done, 0 to 1; 0 if that is not known.
        """
        expected = [self._rates.get(key, float("nan")) * size for key, size in self.work(order)]
        now = spent * (1 - share) / share if share else max(expected[phase] - spent, 0.0)
        total = now + sum(expected[phase + 1 :])
        return total if total == total else None


class Job:
    """One order on its way; the listener of `making.make`.

    Args:
        order: What is made.
        folder: Where; removed with the job.
        pace: Knows how long it takes, and learns from it.
    """

    def __init__(self, order: Order, folder: Path, pace: Pace) -> None:
        self.order, self.folder = order, folder
        self.started = time.monotonic()
        self.future: Future[Result] | None = None
        self._pace, self._called_off = pace, threading.Event()
        self._phase, self._phase_began = -1, self.started
        self._stage, self._steps = "waiting", (0, 0)
        self._notes: tuple[str, ...] = ()
        self._image: np.ndarray | None = None
        self._imaged = -math.inf

    def cancel(self) -> None:
        """End at the next stage or step, or do not begin."""
        self._called_off.set()
        if self.future is not None:
            self.future.cancel()

    def stage(self, what: str) -> None:
        """The next phase begins."""
        self._heed()
        self.finish_phase()
        self._phase, self._stage, self._steps = self._phase + 1, what, (0, 0)

    def note(self, text: str) -> None:
        """Kept for the page."""
        self._notes = (*self._notes, text)

    def preview(self, frame: Preview) -> None:
        """Decoded and kept for the page, unless the last one is still fresh."""
        if time.monotonic() - self._imaged >= IMAGE_EVERY:
            self._image = frame()
            self._imaged = time.monotonic()

    def step(self, done: int, total: int) -> None:
        """Kept for the page."""
        self._heed()
        self._steps = done, total

    def finish_phase(self) -> None:
        """Learn how long the phase that ends now took."""
        now = time.monotonic()
        if self._phase >= 0:
            self._pace.learn(self.order, self._phase, now - self._phase_began)
        self._phase_began = now

    def progress(self, ahead: int) -> Progress:
        """How it stands, with so many jobs before it."""
        now, (done, total), left = time.monotonic(), self._steps, None
        if self._phase >= 0:
            share = done / total if 0 < done < total else 0.0
            left = self._pace.left(self.order, self._phase, now - self._phase_began, share)
        elapsed = now - self.started
        return Progress(self._stage, ahead, done, total, elapsed, left, self._notes, self._image)

    def forget_image(self) -> None:
        """The result is there, or will never be."""
        self._image = None

    def remove(self) -> None:
        """Stop, and leave nothing on the disk."""
        self.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _heed(self) -> None:
        if self._called_off.is_set():
            raise Cancelled


class Desk:
    """Takes orders of visitors, by session.

    Args:
        pipe: The loaded weights, shared by all jobs.
        weights: Their name.
        folder: Jobs get folders of their own in it.
        limits: What may be asked for.
        provenance: Who signs what is made.
    """

    def __init__(
        self, pipe: IdolPipeline, weights: str, folder: Path, limits: Limits, provenance: Provenance
    ) -> None:
        self.pipe, self.limits = pipe, limits
        self._weights, self._folder, self._provenance = weights, folder, provenance
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="idol-app")
        self._pace, self._lock = Pace(), threading.Lock()
        self._jobs: list[tuple[str, Job]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def serve(self, order: Order, session: str) -> Iterator[Progress | Result]:
        """Make an order: how it stands, again and again, and at last the result.

        Closing the iterator calls the job off.

        Raises:
            UserError: If it cannot be made, or too many wait.
            Cancelled: If the visitor has called it off.
        """
        check_order(order, self.limits)
        job = self._enter(order, session)
        assert job.future is not None
        finished = False
        try:
            while not job.future.done():
                yield job.progress(self._ahead(job))
                wait([job.future], TICK)
            if job.future.cancelled():
                raise Cancelled
            result = job.future.result()
            finished = True
            yield result
        finally:
            if not finished:
                self._drop(lambda _, other: other is job)

    def cancel(self, session: str) -> None:
        """Call off what a visitor has ordered."""
        with self._lock:
            mine = [job for owner, job in self._jobs if owner == session]
        for job in mine:
            job.cancel()

    def forget(self, session: str) -> None:
        """A visitor has left: call off their jobs, remove their files."""
        self._drop(lambda owner, _: owner == session)

    def close(self) -> None:
        """Call off everything and wait until the worker has stopped."""
        self._drop(lambda _, __: True)
        self._worker.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _enter(self, order: Order, session: str) -> Job:
        oldest = time.monotonic() - 60 * self.limits.keep_minutes
        self._drop(lambda _, job: job.started < oldest and job.future is not None and job.future.done())
        with self._lock:
            if sum(not job.future.done() for _, job in self._jobs if job.future) > self.limits.waiting:
                raise UserError("queue", "too many jobs are waiting", "try again in a few minutes")
            job = Job(order, Path(tempfile.mkdtemp(prefix="job-", dir=self._folder)), self._pace)
            job.future = self._worker.submit(self._work, job)
            self._jobs.append((session, job))
        return job

    def _work(self, job: Job) -> Result:
        try:
            result = make(self.pipe, self._weights, job.order, job.folder, self._provenance, job)
            job.finish_phase()
            return result
        except BaseException:
            shutil.rmtree(job.folder, ignore_errors=True)  # once more: it may have been removed too early
            raise
        finally:
            job.forget_image()

    def _ahead(self, job: Job) -> int:
        with self._lock:
            before = [other for _, other in self._jobs[: self._place(job)]]
        return sum(other.future is not None and not other.future.done() for other in before)

    def _place(self, job: Job) -> int:
        return next((i for i, (_, other) in enumerate(self._jobs) if other is job), 0)

    def _drop(self, which: Callable[[str, Job], bool]) -> None:
        with self._lock:
            gone = [job for owner, job in self._jobs if which(owner, job)]
            self._jobs = [(owner, job) for owner, job in self._jobs if job not in gone]
        for job in gone:
            job.remove()
