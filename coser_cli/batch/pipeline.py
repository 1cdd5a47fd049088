"""Jobs with one model: meanwhile the next pictures are read, and finished ones written.

One thread reads ahead, two write behind; the networks run in the calling thread. The bytes that
wait are limited. Decoders and encoders release the GIL for most of their time. A single job, and
jobs that are done one by one, need no threads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Condition
from typing import Self

from coser_cli.batch.events import Emit, Started, ignore
from coser_cli.batch.jobs import Job
from coser_cli.batch.load import Load
from coser_cli.batch.output import Outputs
from coser_cli.batch.picture import LoadedJob
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result
from coser_cli.batch.whole import batch_key, batch_size, upscale_together
from coser_cli.batch.worker import Worker, attempt, upscale, write

AHEAD, AHEAD_BYTES = 32, 256 * 2**20
"""Pictures that are read and wait, at most. One that alone has more bytes is read in its turn."""
WRITERS, BEHIND_BYTES = 2, 256 * 2**20
"""Threads that write; bytes of results that wait for them, or a single one of any size."""
PIXEL_BYTES = 16
"""Float32 RGB and alpha."""
WINDOW = 4
"""A picture waits for others of its batch for at most this many batches' length of jobs."""


def run_in_process(
    jobs: Sequence[Job], load: Load, work: Work, emit: Emit = ignore
) -> Generator[Result]:
    """Do the jobs in this process and yield a result for each, in order.

    `load` is called when a model is first needed, and once. A job whose outputs all exist is
    skipped unless they are to be overwritten. Errors that concern every job are raised:
    `WeightsError`, `UsageError`, and `DeviceError` from `load`; any other belongs to its own job.
    What is finished when the run ends early is still written, and its results are yielded unless
    the generator was closed.
    """
    worker = Worker(load, work, emit)
    alone = len(jobs) == 1 or work.request.fail_fast
    with _Ahead(worker, jobs, alone) as ahead, _Behind(worker, alone) as behind:
        flow = _Flow(worker, ahead, behind, emit, alone)
        try:
            while flow.advance():
                yield from flow.finished(wait=False)
        except (Exception, KeyboardInterrupt):
            yield from flow.finished(wait=True)
            raise
        yield from flow.finished(wait=True)


@dataclass
class _Step:
    """A job after its first phase: what was read, or its result; None once others hold what they
    need.
    """

    job: Job
    read: LoadedJob | Result | None
    seconds: float
    result: Future[Result] | None = None


class _Room:
    """Bytes that may be held by several threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._closed = limit, 0, False
        self._changed = Condition()

    def enter(self, amount: int) -> None:
        """Wait until there is room; an amount above the limit waits until all is free."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._held or self._held + amount <= self._limit
            )
            self._held += amount

    def leave(self, amount: int) -> None:
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    def close(self) -> None:
        """Let in all that wait: no room will become free any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Ahead:
    """Reads the jobs' pictures in order, in a thread of its own."""

    def __init__(self, worker: Worker, jobs: Sequence[Job], alone: bool) -> None:
        self._worker = worker
        self._depth = 0 if alone else AHEAD
        self._jobs = iter(jobs)
        self._room = _Room(AHEAD_BYTES)
        self._pool = ThreadPoolExecutor(1, "coser-read")
        self._queue: deque[tuple[Job, Future[tuple[_Step, int] | None]]] = deque()

    def __enter__(self) -> Self:
        self._fill()
        return self

    def __exit__(self, *error: object) -> None:
        self._room.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self) -> _Step | None:
        """The next job, read; None after the last. Raises what ends the run."""
        if not self._queue:
            last = next(self._jobs, None)
            return None if last is None else self._read(last)
        job, future = self._queue.popleft()
        self._fill()
        item = future.result()
        if item is None:
            return self._read(job)
        step, bytes_held = item
        self._room.leave(bytes_held)
        return step

    def _fill(self) -> None:
        while len(self._queue) < self._depth and (job := next(self._jobs, None)) is not None:
            self._queue.append((job, self._pool.submit(self._read_ahead, job)))

    def _read_ahead(self, job: Job) -> tuple[_Step, int] | None:
        """The step and the bytes it holds; None for a picture that is too large to wait."""
        bytes_held = _photo_bytes(job)
        if bytes_held > AHEAD_BYTES:
            return None
        self._room.enter(bytes_held)
        return self._read(job), bytes_held

    def _read(self, job: Job) -> _Step:
        began = time.monotonic()
        read = attempt(self._worker, job, lambda: self._worker.read(job))
        return _Step(job, read, time.monotonic() - began)


class _Behind:
    """Writes what is finished; in this thread where jobs are done `alone`."""

    def __init__(self, worker: Worker, alone: bool) -> None:
        self._worker, self._alone = worker, alone
        self._room = _Room(BEHIND_BYTES)
        self._pool = ThreadPoolExecutor(WRITERS, "coser-write")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True)

    def write(self, loaded: LoadedJob, outputs: Outputs, seconds: float) -> Future[Result]:
        """Write it in the background, as soon as there is room for it to wait."""
        bytes_held = outputs.nbytes + loaded.photo.pixels.nbytes
        self._room.enter(bytes_held)
        if not self._alone:
            return self._pool.submit(self._write, loaded, outputs, seconds, bytes_held)
        written: Future[Result] = Future()
        written.set_result(self._write(loaded, outputs, seconds, bytes_held))
        return written

    def _write(
        self, loaded: LoadedJob, outputs: Outputs, seconds: float, bytes_held: int
    ) -> Result:
        began = time.monotonic()
        try:
            result = attempt(self._worker, loaded.job, lambda: write(loaded, outputs))
            return replace(result, seconds=seconds + time.monotonic() - began)
        finally:
            self._room.leave(bytes_held)


class _Flow:
    """From pictures that are read to results that are written."""

    def __init__(
        self, worker: Worker, ahead: _Ahead, behind: _Behind, emit: Emit, alone: bool
    ) -> None:
        self._worker, self._ahead, self._behind = worker, ahead, behind
        self._emit, self._alone = emit, alone
        self._largest: int | None = None
        self._longest = 1
        self._steps: deque[_Step] = deque()
        self._waiting: dict[object, list[_Step]] = {}

    def advance(self) -> bool:
        """Take the next job and compute what is due; False after the last, when all is computed."""
        step = self._ahead.take()
        if step is None:
            while self._waiting:
                self._make_oldest()
            return False
        self._steps.append(step)
        key, size = self._batch(step)
        self._longest = max(self._longest, size)
        group = self._waiting.setdefault(key, [])
        group.append(step)
        if len(group) >= size:
            self._make(self._waiting.pop(key))
        if self._waiting and len(self._steps) >= WINDOW * self._longest:
            self._make_oldest()
        return True

    def finished(self, *, wait: bool) -> Iterator[Result]:
        """Results in the order of jobs, as far as they go without a gap."""
        while self._steps and (result := self._steps[0].result) is not None:
            if not (wait or result.done()):
                return
            self._steps.popleft()
            yield result.result()

    def _make_oldest(self) -> None:
        self._make(self._waiting.pop(next(iter(self._waiting))))

    def _batch(self, step: _Step) -> tuple[object, int]:
        """The key of the batch that a picture may share, and how many share it; None and 1 where it
        is computed by itself.
        """
        loaded = step.read
        if self._alone or not isinstance(loaded, LoadedJob):
            return None, 1
        key = attempt(self._worker, step.job, lambda: batch_key(loaded))
        if key is None or isinstance(key, Result):  # its error comes again when it is made
            return None, 1
        size = attempt(self._worker, step.job, lambda: batch_size(loaded))
        if isinstance(size, Result):
            return None, 1
        return key, size if self._largest is None else min(size, self._largest)

    def _make(self, group: Sequence[_Step]) -> None:
        for step in group:
            self._emit(Started(step.job))
        notes: tuple[str, ...] = ()
        if len(group) > 1:
            if self._make_together(group):
                return
            self._largest = max(1, len(group) // 2)
            notes = (f"made by itself, as a batch of {len(group)} failed",)
        for step in group:
            self._make_one(step, notes)

    def _make_together(self, group: Sequence[_Step]) -> bool:
        jobs = [step.read for step in group if isinstance(step.read, LoadedJob)]
        began = time.monotonic()
        together = upscale_together(jobs)
        if together is None:
            return False
        seconds = (time.monotonic() - began) / len(group)
        for step, outputs in zip(group, together, strict=True):
            self._write_outputs(step, outputs, step.seconds + seconds)
        return True

    def _make_one(self, step: _Step, notes: tuple[str, ...]) -> None:
        read, began = step.read, time.monotonic()
        outcome = (
            attempt(self._worker, step.job, partial(upscale, read))
            if isinstance(read, LoadedJob)
            else read
        )
        assert outcome is not None
        seconds = step.seconds + time.monotonic() - began
        if isinstance(outcome, Outputs):
            result = replace(outcome.result, notes=outcome.result.notes + notes)
            self._write_outputs(step, replace(outcome, result=result), seconds)
            return
        step.read, step.result = None, Future()
        step.result.set_result(replace(outcome, seconds=seconds))

    def _write_outputs(self, step: _Step, outputs: Outputs, seconds: float) -> None:
        """Pass the outputs on to be written, and drop them here."""
        loaded, step.read = step.read, None
        assert isinstance(loaded, LoadedJob)
        step.result = self._behind.write(loaded, outputs, seconds)


def _photo_bytes(job: Job) -> int:
    """Bytes of the decoded picture, by its header; 0 where that says nothing: reading will."""
    from coser_cli.imageio.header import read_header

    try:
        return read_header(job.source, job.frame).size.area * PIXEL_BYTES
    except Exception:  # decoders raise anything on damaged files
        return 0
