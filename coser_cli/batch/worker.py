"""One job in three phases: read the picture, enlarge it whole or in tiles, write the result."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from coser_cli.batch.checks import naming, require_writable
from coser_cli.batch.events import Emit, progress_to
from coser_cli.batch.jobs import Job
from coser_cli.batch.load import Load
from coser_cli.batch.output import Outputs, write_outputs
from coser_cli.batch.picture import LoadedJob
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result
from coser_cli.batch.resume import pending_of
from coser_cli.batch.whole import upscale_whole
from coser_cli.errors import (
    CoserError,
    DeviceError,
    InputError,
    UsageError,
    WeightsError,
    reason_of,
    shown,
)

if TYPE_CHECKING:
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.imageio.decode import Animations

Phase = TypeVar("Phase")
NO_THREAD = "can't start new thread"
"""What `threading` says where there is no memory for a thread's stack."""


class Worker:
    """Does single jobs with one lazily loaded model."""

    def __init__(self, load: Load, work: Work, emit: Emit) -> None:
        self._load = load
        self._upscaler: Upscaler | None = None
        self._work = work
        self._progress = progress_to(emit)
        self._animations: Animations = deque(maxlen=1)

    @property
    def loaded(self) -> bool:
        """Whether the model has been needed and could be loaded."""
        return self._upscaler is not None

    def _model(self) -> Upscaler:
        if self._upscaler is None:
            self._upscaler = self._load()
        return self._upscaler

    def read(self, job: Job) -> LoadedJob | Result:
        """The job with its picture; a result, where all its outputs exist. Needs no model."""
        from coser_cli.imageio.mask import read_mask
        from coser_cli.imageio.read import read_photo

        if note := self._large_enough(job):
            return Result(job, "skipped", notes=(note,))
        with naming(job.source):
            pending = pending_of(job, self._work)
        if not pending.missing and job.source.exists():
            return Result(job, "skipped", notes=pending.notes)
        photo = read_photo(job.source, frame=job.frame, animations=self._animations)
        with naming(job.source):
            settings = self._work.settings_for(photo.size)
        require_writable(pending.missing, photo.size.scaled(settings.scale))
        mask = None if job.mask is None else read_mask(job.mask)
        common = self._work, self._model, self._progress
        conditions = {name: read_photo(path) for name, path in job.conditions.items()}
        return LoadedJob(job, photo, settings, pending, *common, mask=mask, conditions=conditions)

    def _large_enough(self, job: Job) -> str | None:
        """A note on a picture that is larger already than --max-side asks for."""
        fit = self._work.request.fit
        if fit is None or fit.max_side is None or not job.source.is_file():
            return None
        from coser_cli.imageio.header import read_header

        size = read_header(job.source, job.frame).size
        if size.long_side <= fit.max_side:
            return None
        return f"{size} pixels are more than --max-side {fit.max_side} already"


def upscale(loaded: LoadedJob) -> Outputs:
    """Compute the missing outputs; in tiles, also write them."""
    with naming(loaded.job.source):
        if loaded.only_compares:
            return Outputs(Result(loaded.job, "done"))
        why = loaded.why_tiled()
        if why is None:
            return upscale_whole(loaded)
        from coser_cli.batch.large import upscale_in_tiles

        return upscale_in_tiles(loaded, why)


def write(loaded: LoadedJob, outputs: Outputs) -> Result:
    """Write the missing outputs, and return the result; needs no model."""
    from coser_cli.imageio.write import lost_in

    with naming(loaded.job.source):
        if not outputs.is_written:
            write_outputs(loaded, outputs)
    return replace(
        outputs.result,
        source_size=loaded.photo.size,
        target_size=loaded.photo.size.scaled(loaded.settings.scale),
        seed=loaded.settings.seed,
        notes=(
            *loaded.pending.notes,
            *loaded.photo.notes,
            *lost_in(loaded.job.target, loaded.photo, loaded.work.request.encoding),
            *outputs.result.notes,
        ),
    )


def attempt(worker: Worker, job: Job, phase: Callable[[], Phase]) -> Phase | Result:
    """The result of a phase of a job; its errors as a `Result`."""
    try:
        return phase()
    except (WeightsError, UsageError):
        raise
    except CoserError as error:
        if isinstance(error, DeviceError) and not worker.loaded:
            raise
        return Result(job, "failed", error=error)
    except OSError as error:
        reason = reason_of(error)
        message = f"cannot enlarge {shown(job.source)}: {reason}"
        return Result(job, "failed", error=InputError(message, "check the file and the disk"))
    except Exception as error:  # a bug must not take the other pictures with it
        if isinstance(error, MemoryError) or NO_THREAD in str(error):
            message, remedy = "out of memory", "use a smaller scale or picture"
        elif os.environ.get("COSER_DEBUG"):
            raise
        else:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            remedy = "this is a bug in coser; COSER_DEBUG=1 shows where"
        message = f"cannot enlarge {shown(job.source)}: {message}"
        return Result(job, "failed", error=InputError(message, remedy))
