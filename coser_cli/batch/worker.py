"""One job in three phases: read the picture, make it larger whole or in tiles, write the result."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from coser_cli.batch.checks import naming, require_writable, target
from coser_cli.batch.jobs import Job
from coser_cli.batch.picture import Made, Making
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result
from coser_cli.batch.resume import standing_of
from coser_cli.errors import CoserError, DeviceError, InputError, UsageError, WeightsError, shown

if TYPE_CHECKING:
    from coser_cli.engine.progress import Progress
    from coser_cli.engine.upscaler import Upscaler

Phase = TypeVar("Phase")


class Worker:
    """Does single jobs with one lazily loaded model."""

    def __init__(
        self, load: Callable[[], Upscaler], work: Work, on_progress: Progress | None
    ) -> None:
        from coser_cli.engine.progress import silent

        self._load = load
        self._upscaler: Upscaler | None = None
        self._work = work
        self._tell = on_progress or silent

    @property
    def loaded(self) -> bool:
        """Whether the model has been needed and could be loaded."""
        return self._upscaler is not None

    def _loaded(self) -> Upscaler:
        if self._upscaler is None:
            self._upscaler = self._load()
        return self._upscaler

    def do(self, job: Job) -> Result:
        """Read, make, write. Raises `CoserError`, `OSError` or whatever the networks raise."""
        making = self.read(job)
        return making if isinstance(making, Result) else making.write(make(making))

    def read(self, job: Job) -> Making | Result:
        """What is to be made, and its picture; a result, where all is there. Needs no model."""
        from coser_cli.imageio.read import read_photo

        with naming(job.source):
            standing = standing_of(job, self._work)
        if not standing.missing and job.source.exists():
            return Result(job, "skipped", notes=standing.notes)
        photo = read_photo(job.source, frame=job.frame)
        with naming(job.source):
            settings = self._work.settings_for(photo.size)
        require_writable(standing.missing, target(photo.size, settings))
        return Making(job, photo, settings, standing, self._work, self._loaded, self._tell)


def make(making: Making) -> Made:
    """Make what is missing; in tiles, also write it."""
    with naming(making.job.source):
        if making.only_compares:
            return Made(Result(making.job, "done"))
        why = making.why_tiled()
        if why is not None:
            from coser_cli.batch.large import make_large

            return Made(make_large(making, why), written=True)
        return making.at_once()


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
