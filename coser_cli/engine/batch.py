"""Jobs → results: read, enlarge, write, one after the other; one bad file stops no other.

`run` yields one `Result` per job and knows no terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from coser_cli.engine.jobs import Job
from coser_cli.errors import (
    CoserError,
    DeviceError,
    Exit,
    InputError,
    UsageError,
    WeightsError,
    shown,
)
from coser_cli.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from coser_cli.engine.progress import Progress
    from coser_cli.engine.references import Candidates
    from coser_cli.engine.upscaler import Upscaled
    from coser_cli.imageio.photo import FloatArray, Photo

# 16384 × 16384. Whole pictures are enlarged in memory: 3.2 GB for the result's float32 pixels
# alone. What the machine really has is the engine's own, tighter check.
MAX_OUTPUT_PIXELS = 2**28


class Enlarger(Protocol):
    """What the batch needs of `Upscaler`."""

    def upscale(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        *,
        on_progress: Progress | None = None,
        want_reference: bool = False,
        references: Sequence[Tensor] = (),
    ) -> Upscaled: ...

    def candidates(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Candidates: ...


@dataclass(frozen=True)
class Result:
    """What became of a job. Sizes are (width, height); `error` is set where it failed.

    `scores` of the candidate references, where they were compared with the input, and the index of
    the `chosen` one, where not all were used.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    seconds: float = 0.0
    source_size: tuple[int, int] | None = None
    target_size: tuple[int, int] | None = None
    seed: int | None = None
    notes: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    chosen: int | None = None
    error: CoserError | None = None


@dataclass
class Tally:
    """Results counted, and the exit code they add up to."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    codes: set[Exit] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Count one more result."""
        setattr(self, result.status, getattr(self, result.status) + 1)
        if result.error is not None:
            self.codes.add(result.error.exit_code)

    @property
    def exit_code(self) -> Exit:
        """0 if nothing failed; the one common reason if nothing was done; else 1."""
        if not self.codes:
            return Exit.OK
        if self.done == 0 and len(self.codes) == 1:
            return next(iter(self.codes))
        return Exit.FAILED


def run(
    jobs: Sequence[Job],
    load: Callable[[], Enlarger],
    settings: Settings,
    *,
    overwrite: bool = False,
    references: Sequence[Photo] = (),
    on_start: Callable[[Job], None] | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Result]:
    """Do the jobs in order, yielding a result for each; `load` is called once, when first needed.

    `references` are pictures of the user that guide every job, instead of imagined ones. A job
    whose outputs all exist is skipped unless `overwrite`. What would fail every job alike is
    raised: `WeightsError`, `UsageError`, and `DeviceError` from `load`; any other failure belongs
    to its own job.
    """
    worker = _Worker(load, settings, references, on_progress)
    for job in jobs:
        if on_start is not None:
            on_start(job)
        yield _attempt(worker, job, overwrite)


def _attempt(worker: _Worker, job: Job, overwrite: bool) -> Result:
    """One job, its errors turned into a result."""
    started = time.monotonic()
    try:
        result = worker.do(job, overwrite)
    except (WeightsError, UsageError):
        raise
    except CoserError as error:
        if isinstance(error, DeviceError) and not worker.loaded:
            raise
        result = Result(job, "failed", error=error)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot enlarge {shown(job.source)}: {reason}"
        result = Result(job, "failed", error=InputError(message, "check the file and the disk"))
    except MemoryError:
        message = f"cannot enlarge {shown(job.source)}: out of memory"
        result = Result(job, "failed", error=InputError(message, "use a smaller scale or picture"))
    except Exception as error:  # a bug must not take the other pictures with it
        if os.environ.get("COSER_DEBUG"):
            raise
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"cannot enlarge {shown(job.source)}: {detail}"
        remedy = "this is a bug in coser; COSER_DEBUG=1 shows where"
        result = Result(job, "failed", error=InputError(message, remedy))
    return replace(result, seconds=time.monotonic() - started)


class _Worker:
    """Does single jobs with one lazily loaded model."""

    def __init__(
        self,
        load: Callable[[], Enlarger],
        settings: Settings,
        references: Sequence[Photo],
        on_progress: Progress | None,
    ) -> None:
        self._load = load
        self._enlarger: Enlarger | None = None
        self._settings = settings
        self._references = references
        self._on_progress = on_progress

    @property
    def loaded(self) -> bool:
        """Whether the model has been needed and could be loaded."""
        return self._enlarger is not None

    def do(self, job: Job, overwrite: bool) -> Result:
        """Read, enlarge, write. Raises `CoserError`, `OSError` or whatever the networks raise."""
        from coser_cli.imageio.read import read_photo

        missing = [path for path in job.outputs if overwrite or not os.path.lexists(path)]
        if not missing and job.source.exists():
            return Result(job, "skipped")
        limit = int(MAX_OUTPUT_PIXELS / self._settings.scale**2)
        photo = read_photo(job.source, max_pixels=limit)
        size = tuple(round(side * self._settings.scale) for side in photo.size)
        _require_writable(missing, size)
        made = self._make(job, photo, any(path in missing for path in job.references))
        _write(job, missing, photo, made)
        return Result(
            job,
            "done",
            source_size=photo.size,
            target_size=(size[0], size[1]),
            seed=self._settings.seed,
            notes=photo.notes,
            scores=made.scores,
            chosen=made.chosen,
        )

    def _make(self, job: Job, photo: Photo, want_reference: bool) -> _Made:
        """Photo → pixels of everything that the job writes."""
        import torch

        if self._enlarger is None:
            self._enlarger = self._load()
        pixels = torch.from_numpy(photo.pixels)[None]
        with _naming(job.source):
            if job.kind == "reference":
                found = self._enlarger.candidates(pixels, self._settings, self._on_progress)
                return _references_made(photo, _arrays(found.pictures), found.scores)
            given = [torch.from_numpy(reference.pixels)[None] for reference in self._references]
            made = self._enlarger.upscale(
                pixels,
                self._settings,
                on_progress=self._on_progress,
                want_reference=want_reference,
                references=given,
            )
            references = () if made.reference is None else _arrays(made.reference)
            return _Made(_arrays(made.pixels)[0], references, made.scores, made.chosen)


@dataclass(frozen=True)
class _Made:
    """Pixels `(3, H, W)` in [0, 1] of a job's target and references, and what is told of them."""

    target: FloatArray
    references: Sequence[FloatArray] = ()
    scores: tuple[float, ...] | None = None
    chosen: int | None = None


def _references_made(
    photo: Photo, pictures: Sequence[FloatArray], scores: tuple[float, ...] | None
) -> _Made:
    """A single reference is the target; several stand beside their contact sheet."""
    if scores is None:
        return _Made(pictures[0])
    from coser_cli.imageio.contact_sheet import contact_sheet

    labels = [f"{number}   {score:.4f}" for number, score in enumerate(scores, start=1)]
    size = pictures[0].shape[2], pictures[0].shape[1]
    sheet = contact_sheet([photo.pixels, *pictures], ["input", *labels], size)
    return _Made(sheet, pictures, scores)


def _write(job: Job, missing: Sequence[Path], photo: Photo, made: _Made) -> None:
    """Write what is missing. The target last: a finished one means that everything is there."""
    from coser_cli.imageio.photo import Photo as Plain
    from coser_cli.imageio.write import write_photo

    beside = replace(photo, alpha=None, grey=False) if job.kind == "upscale" else photo
    paths = job.references if made.references else ()
    for path, pixels in zip(paths, made.references, strict=True):
        if path in missing:
            write_photo(path, pixels, beside)
    if job.target not in missing:
        return
    sheet = job.kind == "reference" and job.references
    write_photo(job.target, made.target, Plain(made.target) if sheet else photo)


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Put the picture's name before what the engine reports, which knows no names."""
    try:
        yield
    except (WeightsError, UsageError):
        raise
    except CoserError as error:
        raise type(error)(f"cannot enlarge {shown(source)}: {error.message}", error.hint) from error
    except RuntimeError as error:
        # torch.OutOfMemoryError on accelerators; the CPU's allocator has no class of its own.
        if "memory" not in str(error) and "alloc" not in str(error):
            raise
        raise DeviceError(
            f"cannot enlarge {shown(source)}: out of memory", "use a smaller scale or --device cpu"
        ) from error


def _arrays(pixels: Tensor) -> list[FloatArray]:
    """`(N, 3, H, W)` tensor → N float32 arrays `(3, H, W)`; `InputError` where it is not finite."""
    values: FloatArray = pixels.detach().float().cpu().numpy()
    if not bool((values == values).all()):
        raise InputError("the network's result is not a number somewhere", "use --dtype float32")
    return list(values)


def _require_writable(paths: Sequence[Path], size: tuple[int, ...]) -> None:
    """Find out before minutes of work, not after, that the result could not be written."""
    from coser_cli.imageio.formats import require_fits

    for path in paths:
        require_fits(path, *size)
        with suppress(FileNotFoundError):
            path.lstat()  # raises where the name is too long for the file system
        if path.is_dir():
            raise InputError(f"cannot write {shown(path)}: it is a folder", "give another name")
        if not os.access(path.parent, os.W_OK):
            raise InputError(
                f"cannot write into {shown(path.parent)}: permission denied",
                "name a folder of your own with -o",
            )
