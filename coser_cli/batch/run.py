"""Jobs → results, in order; one bad file stops no other.

`run` yields one `Result` per job and knows no terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result
from coser_cli.batch.worker import Worker, attempt

if TYPE_CHECKING:
    from coser_cli.engine.progress import Progress
    from coser_cli.engine.upscaler import Upscaler


def run(
    jobs: Sequence[Job],
    load: Callable[[], Upscaler],
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
        from coser_cli.batch.pipeline import overlapped

        yield from overlapped(worker, jobs, start)
        return
    for job in jobs:
        start(job)
        began = time.monotonic()
        done = attempt(worker, job, partial(worker.do, job))
        yield replace(done, seconds=time.monotonic() - began)


def _silent(job: Job) -> None:
    """Tell nobody."""
