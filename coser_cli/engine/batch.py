"""Jobs → results, in order; one bad file stops no other.

`run` yields one `Result` per job and knows no terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from coser_cli.engine.jobs import Job
from coser_cli.engine.results import Result
from coser_cli.engine.worker import Work, Worker
from coser_cli.errors import CoserError, DeviceError, InputError, UsageError, WeightsError, shown

if TYPE_CHECKING:
    from coser_cli.engine.enlarger import Enlarger
    from coser_cli.engine.progress import Progress

Phase = TypeVar("Phase")


def run(
    jobs: Sequence[Job],
    load: Callable[[], Enlarger],
    work: Work,
    *,
    on_start: Callable[[Job], None] | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Result]:
    """Do the jobs in order, yielding a result for each; `load` is called once, when first needed.

    Of several jobs, the next pictures are read and finished ones written meanwhile
    (`pipeline.overlapped`), unless they are to be done one by one. A job whose outputs all exist is
    skipped unless they are to be overwritten. What would fail every job alike is raised:
    `WeightsError`, `UsageError`, and `DeviceError` from `load`; any other failure belongs to its
    own job.
    """
    worker = Worker(load, work, on_progress)
    start = on_start or _silent
    if len(jobs) > 1 and not work.one_by_one:
        from coser_cli.engine.pipeline import overlapped

        yield from overlapped(worker, jobs, start)
        return
    for job in jobs:
        start(job)
        began = time.monotonic()
        done = attempt(worker, job, partial(worker.do, job))
        yield replace(done, seconds=time.monotonic() - began)


def attempt(worker: Worker, job: Job, phase: Callable[[], Phase]) -> Phase | Result:
    """What a phase of a job makes; its errors turned into a result."""
    try:
        return phase()
    except (WeightsError, UsageError):
        raise
    except CoserError as error:
        if isinstance(error, DeviceError) and not worker.loaded:
            raise
        return Result(job, "failed", error=error)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot enlarge {shown(job.source)}: {reason}"
        return Result(job, "failed", error=InputError(message, "check the file and the disk"))
    except MemoryError:
        message = f"cannot enlarge {shown(job.source)}: out of memory"
        return Result(job, "failed", error=InputError(message, "use a smaller scale or picture"))
    except Exception as error:  # a bug must not take the other pictures with it
        if os.environ.get("COSER_DEBUG"):
            raise
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"cannot enlarge {shown(job.source)}: {detail}"
        remedy = "this is a bug in coser; COSER_DEBUG=1 shows where"
        return Result(job, "failed", error=InputError(message, remedy))


def _silent(job: Job) -> None:
    """Tell nobody."""
