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

from coser_cli.engine.jobs import Job, Kind
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
    ) -> Upscaled: ...

    def reference(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Result:
    """What became of a job. Sizes are (width, height); `error` is set where it failed."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    seconds: float = 0.0
    source_size: tuple[int, int] | None = None
    target_size: tuple[int, int] | None = None
    seed: int | None = None
    notes: tuple[str, ...] = ()
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
    kind: Kind = "upscale",
    on_start: Callable[[Job], None] | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Result]:
    """Do the jobs in order, yielding a result for each; `load` is called once, when first needed.

    A job whose outputs all exist is skipped unless `overwrite`. What would fail every job alike is
    raised: `WeightsError`, `UsageError`, and `DeviceError` from `load`; any other failure belongs
    to its own job.
    """
    worker = _Worker(load, settings, kind, on_progress)
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
        kind: Kind,
        on_progress: Progress | None,
    ) -> None:
        self._load = load
        self._enlarger: Enlarger | None = None
        self._settings = settings
        self._kind = kind
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
        self._write(job, missing, photo)
        return Result(
            job,
            "done",
            source_size=photo.size,
            target_size=(size[0], size[1]),
            seed=self._settings.seed,
            notes=photo.notes,
        )

    def _write(self, job: Job, missing: Sequence[Path], photo: Photo) -> None:
        """Make and write what is missing; what a comparison shows may all be there already."""
        from coser_cli.imageio.write import write_photo

        if not set(missing) - {job.comparison}:
            _compare(job, photo, None, None)
            return
        if self._enlarger is None:
            self._enlarger = self._load()
        with _naming(job.source):
            result, reference = self._enlarge(self._enlarger, photo, job.reference in missing)
        # The reference first: a finished result then means that everything is there.
        if reference is not None and job.reference is not None:
            write_photo(job.reference, reference, replace(photo, alpha=None, grey=False))
        if job.comparison in missing:
            _compare(job, photo, result if job.target in missing else None, reference)
        if job.target in missing:
            write_photo(job.target, result, photo)

    def _enlarge(
        self, enlarger: Enlarger, photo: Photo, want_reference: bool
    ) -> tuple[FloatArray, FloatArray | None]:
        """Photo → pixels of the result and, if wanted, of the reference; `(3, H, W)` in [0, 1]."""
        import torch

        pixels = torch.from_numpy(photo.pixels)[None]
        if self._kind == "reference":
            return _array(enlarger.reference(pixels, self._settings, self._on_progress)), None
        made = enlarger.upscale(
            pixels, self._settings, on_progress=self._on_progress, want_reference=want_reference
        )
        return _array(made.pixels), None if made.reference is None else _array(made.reference)


def _compare(
    job: Job, photo: Photo, result: FloatArray | None, reference: FloatArray | None
) -> None:
    """Write the comparison. A picture that was not made now is the file that is there."""
    from coser_cli.imageio.comparison import write_comparison
    from coser_cli.imageio.photo import Photo as Plain
    from coser_cli.imageio.read import read_photo

    assert job.comparison is not None
    shown_result = read_photo(job.target) if result is None else Plain(result, alpha=photo.alpha)
    shown_reference = None if reference is None else Plain(reference)
    if reference is None and job.reference is not None:
        shown_reference = read_photo(job.reference)
    write_comparison(job.comparison, photo, shown_result, shown_reference)


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


def _array(pixels: Tensor) -> FloatArray:
    """`(1, 3, H, W)` tensor → `(3, H, W)` float32 array; `InputError` where it is not finite."""
    values: FloatArray = pixels[0].detach().float().cpu().numpy()
    if not bool((values == values).all()):
        raise InputError("the network's result is not a number somewhere", "use --dtype float32")
    return values


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
