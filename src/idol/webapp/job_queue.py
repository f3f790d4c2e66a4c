"""The queue that takes orders: one is worked on at a time, the others wait, each may be called off."""

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
from idol.progress import Preview, ProgressCallback
from idol.provenance import Provenance
from idol.webapp.requests import JobRequest, JobResult, check_request, fulfill
from idol.webapp.upload_limits import Limits

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline

TICK = 0.4
"""Seconds between two reports of a job."""
IMAGE_EVERY = 1.0
"""Seconds between two previews: decoding one delays the job."""


class Cancelled(Exception):
    """The visitor has canceled the job."""


@dataclass(frozen=True)
class JobProgress:
    """The progress of a job.

    Attributes:
        stage: Name of the stage.
        ahead: Number of jobs before it; 0 once it runs.
        done: Finished units of the stage: windows denoised, frames decoded.
        total: All units of the stage; 0 if they are not counted.
        elapsed: Seconds since the request.
        left: Estimated remaining seconds; None if unknown.
        notes: Remarks on the inputs.
        image: The latest preview, the middle frame beside its depth, (3, h, 2 w) uint8
            sRGB; None before the first.
    """

    stage: str
    ahead: int
    done: int
    total: int
    elapsed: float
    left: float | None
    notes: tuple[str, ...]
    image: np.ndarray | None = None


class DurationEstimate:
    """Estimates how long the phases of a job take, from finished jobs."""

    def __init__(self) -> None:
        self._rates: dict[tuple[int, bool], float] = {}

    @staticmethod
    def work(request: JobRequest) -> tuple[tuple[tuple[int, bool], float], ...]:
        """Return the phases of a request: the key under which their speed is learned, and their size."""
        f = float(request.frames)
        preparing = ((0, request.has_video), f if request.has_video else 1.0)
        return (preparing, ((1, False), f * request.num_inference_steps), ((2, False), f), ((3, False), f))

    def learn(self, request: JobRequest, phase: int, seconds: float) -> None:
        """Learn from a finished phase.

        Args:
            request: The request.
            phase: Index of the phase.
            seconds: How long it took.
        """
        key, size = self.work(request)[phase]
        self._rates[key] = seconds / size

    def left(self, request: JobRequest, phase: int, spent: float, share: float = 0.0) -> float | None:
        """Return the estimated seconds until a request is done, None if nothing similar was done before.

        Args:
            request: The request.
            phase: Index of the phase that runs.
            spent: Seconds in this phase so far.
            share: Finished share of the phase, 0 to 1; 0 if unknown.
        """
        expected = [self._rates.get(key, float("nan")) * size for key, size in self.work(request)]
        now = spent * (1 - share) / share if share else max(expected[phase] - spent, 0.0)
        total = now + sum(expected[phase + 1 :])
        return total if total == total else None


class Job(ProgressCallback):
    """One queued request; receives the progress of `fulfill`.

    Args:
        request: The request.
        folder: Folder of its files; removed with the job.
        estimate: Estimates its duration, and learns from it.
    """

    def __init__(self, request: JobRequest, folder: Path, estimate: DurationEstimate) -> None:
        self.request, self.folder = request, folder
        self.started = time.monotonic()
        self.future: Future[JobResult] | None = None
        self._estimate, self._cancelled = estimate, threading.Event()
        self._phase, self._phase_began = -1, self.started
        self._stage, self._steps = "waiting", (0, 0)
        self._notes: tuple[str, ...] = ()
        self._image: np.ndarray | None = None
        self._image_time = -math.inf

    def cancel(self) -> None:
        """End the job at its next stage or step, or before it starts."""
        self._cancelled.set()
        if self.future is not None:
            self.future.cancel()

    def stage(self, name: str) -> None:
        """Begin the next phase."""
        self._raise_if_cancelled()
        self.finish_phase()
        self._phase, self._stage, self._steps = self._phase + 1, name, (0, 0)

    def note(self, text: str) -> None:
        """Keep the note for the page."""
        self._notes = (*self._notes, text)

    def preview(self, frame: Preview) -> None:
        """Decode and keep the preview, unless the last one is recent."""
        if time.monotonic() - self._image_time >= IMAGE_EVERY:
            self._image = frame()
            self._image_time = time.monotonic()

    def step(self, done: int, total: int) -> None:
        """Keep the finished share for the page; see `ProgressCallback.step`."""
        self._raise_if_cancelled()
        self._steps = done, total

    def finish_phase(self) -> None:
        """Learn how long the phase took that ends now."""
        now = time.monotonic()
        if self._phase >= 0:
            self._estimate.learn(self.request, self._phase, now - self._phase_began)
        self._phase_began = now

    def progress(self, ahead: int) -> JobProgress:
        """Return the progress, with the number of jobs `ahead` of it."""
        now, (done, total), left = time.monotonic(), self._steps, None
        if self._phase >= 0:
            share = done / total if 0 < done < total else 0.0
            left = self._estimate.left(self.request, self._phase, now - self._phase_began, share)
        elapsed = now - self.started
        return JobProgress(self._stage, ahead, done, total, elapsed, left, self._notes, self._image)

    def forget_image(self) -> None:
        """Drop the preview, once there is a result or will never be one."""
        self._image = None

    def remove(self) -> None:
        """Cancel the job and remove its files."""
        self.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled


class JobQueue:
    """Queues the requests of visitors, by session.

    Args:
        pipe: The loaded pipeline, shared by all jobs.
        weights: Name of its weights.
        folder: Parent of the jobs' folders.
        limits: Limits of requests.
        provenance: Watermark and signer.
    """

    def __init__(
        self, pipe: IdolPipeline, weights: str, folder: Path, limits: Limits, provenance: Provenance
    ) -> None:
        self.pipe, self.limits = pipe, limits
        self._weights, self._folder, self._provenance = weights, folder, provenance
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="idol-app")
        self._estimate, self._lock = DurationEstimate(), threading.Lock()
        self._jobs: list[tuple[str, Job]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def serve(self, request: JobRequest, session: str) -> Iterator[JobProgress | JobResult]:
        """Yield the progress of a request repeatedly, and at last its result.

        Closing the iterator cancels the job.

        Args:
            request: The request.
            session: Identifies the visitor.

        Raises:
            UserError: If the request cannot be fulfilled, or too many jobs are waiting.
            Cancelled: If the visitor has canceled it.
        """
        check_request(request, self.limits)
        job = self._submit(request, session)
        assert job.future is not None
        finished = False
        try:
            while not job.future.done():
                yield job.progress(self._jobs_ahead(job))
                wait([job.future], TICK)
            if job.future.cancelled():
                raise Cancelled
            result = job.future.result()
            finished = True
            yield result
        finally:
            if not finished:
                self._remove(lambda _, other: other is job)

    def cancel(self, session: str) -> None:
        """Cancel all jobs of a visitor."""
        with self._lock:
            mine = [job for owner, job in self._jobs if owner == session]
        for job in mine:
            job.cancel()

    def forget(self, session: str) -> None:
        """Cancel the jobs of a visitor who has left, and remove their files."""
        self._remove(lambda owner, _: owner == session)

    def close(self) -> None:
        """Cancel all jobs and wait until the worker has stopped."""
        self._remove(lambda _, __: True)
        self._worker.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _submit(self, request: JobRequest, session: str) -> Job:
        oldest = time.monotonic() - 60 * self.limits.keep_minutes
        self._remove(lambda _, job: job.started < oldest and job.future is not None and job.future.done())
        with self._lock:
            if sum(not job.future.done() for _, job in self._jobs if job.future) > self.limits.waiting:
                raise UserError("queue", "too many jobs are waiting", "try again in a few minutes")
            job = Job(request, Path(tempfile.mkdtemp(prefix="job-", dir=self._folder)), self._estimate)
            job.future = self._worker.submit(self._work, job)
            self._jobs.append((session, job))
        return job

    def _work(self, job: Job) -> JobResult:
        try:
            result = fulfill(self.pipe, self._weights, job.request, job.folder, self._provenance, job)
            job.finish_phase()
            return result
        except BaseException:
            shutil.rmtree(
                job.folder, ignore_errors=True
            )  # again: it may have been removed while files were still written
            raise
        finally:
            job.forget_image()

    def _jobs_ahead(self, job: Job) -> int:
        with self._lock:
            before = [other for _, other in self._jobs[: self._position(job)]]
        return sum(other.future is not None and not other.future.done() for other in before)

    def _position(self, job: Job) -> int:
        return next((i for i, (_, other) in enumerate(self._jobs) if other is job), 0)

    def _remove(self, which: Callable[[str, Job], bool]) -> None:
        with self._lock:
            gone = [job for owner, job in self._jobs if which(owner, job)]
            self._jobs = [(owner, job) for owner, job in self._jobs if job not in gone]
        for job in gone:
            job.remove()
