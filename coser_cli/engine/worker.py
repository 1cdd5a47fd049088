"""One job: read the picture, enlarge it whole or in tiles, write what it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from coser_cli.engine.jobs import Job
from coser_cli.engine.results import Result
from coser_cli.engine.state import Standing, lies, require_writable, standing_of
from coser_cli.errors import (
    CoserError,
    DeviceError,
    InputError,
    UsageError,
    WeightsError,
    shown,
)
from coser_cli.imageio.encoding import DEFAULT, Encoding
from coser_cli.settings import Settings, TileSpec

if TYPE_CHECKING:
    from torch import Tensor

    from coser_cli.engine.costs import Cost, Task
    from coser_cli.engine.progress import Progress
    from coser_cli.engine.records import Provenance
    from coser_cli.engine.references import Candidates
    from coser_cli.engine.sizes import Fit
    from coser_cli.engine.tiled import TiledUpscaler
    from coser_cli.engine.upscaler import Upscaled
    from coser_cli.imageio.photo import FloatArray, Photo
    from coser_cli.tiling.canvas import Scratch


COMPARED_SIDE = 4096
"""Pixels per side above which a result is reduced before it is compared."""


class Enlarger(Protocol):
    """What jobs need of `Upscaler`."""

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

    def complete(self, settings: Settings | None) -> Settings: ...

    @property
    def device(self) -> Any:
        """Torch's device that it computes on."""
        ...

    @property
    def dtype(self) -> Any:
        """Torch's type of the numbers that it computes with."""
        ...

    @property
    def low_memory(self) -> bool:
        """Whether memory goes before time: then all pictures are done in tiles."""
        ...

    def why_tiled(self, size: tuple[int, int], settings: Settings, spec: TileSpec) -> str:
        """Why a picture of `size` (height, width) is done in tiles; "" where it need not be."""
        ...

    def cost(self, task: Task) -> Cost:
        """What a task takes in tiles."""
        ...

    def in_tiles(
        self, cost: Cost, spec: TileSpec, scratch: Scratch, on_progress: Progress
    ) -> TiledUpscaler:
        """The same, for one picture in tiles."""
        ...


@dataclass(frozen=True)
class Work:
    """What is alike for all jobs of a run.

    `references` are pictures of the user that guide every job, instead of imagined ones. `fit`
    gives each picture its own scale instead of that of `settings`, `encoding` says how results are
    written. `spec` says how large pictures are cut; `always_tiles` cuts small ones, too. With
    `provenance` outputs get records, and those that are there are judged by theirs; without, what
    is there is kept.
    """

    settings: Settings
    references: Sequence[Photo] = ()
    fit: Fit | None = None
    encoding: Encoding = DEFAULT
    spec: TileSpec = field(default_factory=TileSpec)
    always_tiles: bool = False
    overwrite: bool = False
    provenance: Provenance | None = None

    def settings_for(self, size: tuple[int, int]) -> Settings:
        """The settings for a picture of `size` (width, height)."""
        if self.fit is None:
            return self.settings
        return replace(self.settings, scale=self.fit.scale(size))


class Worker:
    """Does single jobs with one lazily loaded model."""

    def __init__(
        self, load: Callable[[], Enlarger], work: Work, on_progress: Progress | None
    ) -> None:
        from coser_cli.engine.progress import silent

        self._load = load
        self._enlarger: Enlarger | None = None
        self._work = work
        self._tell = on_progress or silent

    @property
    def loaded(self) -> bool:
        """Whether the model has been needed and could be loaded."""
        return self._enlarger is not None

    def _loaded(self) -> Enlarger:
        if self._enlarger is None:
            self._enlarger = self._load()
        return self._enlarger

    def do(self, job: Job) -> Result:
        """Read, enlarge, write. Raises `CoserError`, `OSError` or whatever the networks raise."""
        from coser_cli.imageio.read import read_photo

        with naming(job.source):
            standing = standing_of(job, self._work)
        if not standing.missing and job.source.exists():
            return Result(job, "skipped", notes=standing.notes)
        photo = read_photo(job.source, frame=job.frame)
        with naming(job.source):
            settings = self._work.settings_for(photo.size)
        size = target(photo.size, settings)
        require_writable(standing.missing, size)
        making = Making(job, photo, settings, standing, self._work, self._loaded, self._tell)
        with naming(job.source):
            found = making.make()
        return replace(
            found,
            source_size=photo.size,
            target_size=size,
            seed=settings.seed,
            notes=standing.notes + photo.notes + found.notes,
        )


@dataclass(frozen=True)
class Making:
    """The making of one job's pictures."""

    job: Job
    photo: Photo
    settings: Settings
    standing: Standing
    work: Work
    load: Callable[[], Enlarger]
    tell: Progress
    tiling: Mapping[str, Any] | None = None
    """How it is cut, for the records."""

    @property
    def missing(self) -> Sequence[Path]:
        """The outputs that are to be made."""
        return self.standing.missing

    @property
    def enlarger(self) -> Enlarger:
        """The engine, loaded when first asked for."""
        return self.load()

    @property
    def want_reference(self) -> bool:
        return self.job.kind == "upscale" and any(
            path in self.missing for path in self.job.references
        )

    def record(self, path: Path) -> dict[str, Any] | None:
        """The record of an output; a comparison computes nothing."""
        from coser_cli.engine.records import compute_of, record_of

        if self.standing.origin is None:
            return None
        record = record_of(self.job, path, self.standing.origin)
        if path == self.job.comparison:
            return record
        compute = compute_of(self.enlarger.device, self.enlarger.dtype)
        return record | {"tiling": self.tiling, "compute": compute}

    def make(self) -> Result:
        """Make and write what is missing; what a comparison shows may all be there already."""
        if not set(self.missing) - {self.job.comparison}:
            self.compare(None, None)
            return Result(self.job, "done")
        width, height = self.photo.size
        size, spec = (height, width), self.work.spec
        asked = self.work.always_tiles or self.enlarger.low_memory
        why = "" if asked else self.enlarger.why_tiled(size, self.settings, spec)
        if asked or why:
            from coser_cli.engine.large_work import make_large

            return make_large(self, why)
        return self._whole()

    def _whole(self) -> Result:
        """In memory, at once."""
        import torch

        pixels = torch.from_numpy(self.photo.pixels)[None]
        if self.job.kind == "reference":
            found = self.enlarger.candidates(pixels, self.settings, self.tell)
            self._write_references(arrays(found.pictures), found.scores)
            return Result(self.job, "done", scores=found.scores)
        made = self.enlarger.upscale(
            pixels,
            self.settings,
            on_progress=self.tell,
            want_reference=self.want_reference,
            references=[torch.from_numpy(each.pixels)[None] for each in self.work.references],
        )
        references = () if made.reference is None else arrays(made.reference)
        # The target last: a finished one means that everything is there.
        opaque = replace(self.photo, alpha=None, grey=False)
        for path, values in zip(self.job.references if references else (), references, strict=True):
            self._write(path, values, opaque)
        result = arrays(made.pixels)[0]
        self.compare(result, references[0] if references else None)
        self._write(self.job.target, result, self.photo)
        return Result(self.job, "done", scores=made.scores, chosen=made.chosen)

    def compare(
        self,
        result: FloatArray | None,
        reference: FloatArray | None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Write the comparison, if it is missing; what was not made now is the file that is there.

        `result` and `reference` `(3, H, W)` may be reduced ones, of a result of `size` (width,
        height).
        """
        from coser_cli.imageio.comparison import write_comparison
        from coser_cli.imageio.photo import Photo
        from coser_cli.imageio.preview import preview_of, read_preview

        job = self.job
        if job.comparison is None or job.comparison not in self.missing:
            return
        if result is None or job.target not in self.missing:
            shown_result = read_preview(job.target, COMPARED_SIDE)
        else:
            shown_result = preview_of(Photo(result, alpha=self.photo.alpha), size)
        guide = None if reference is None else preview_of(Photo(reference))
        if guide is None and job.references and lies(job.references[0]):
            guide = read_preview(job.references[0], COMPARED_SIDE)
        record = self.record(job.comparison)
        write_comparison(job.comparison, preview_of(self.photo), shown_result, guide, record)

    def _write(self, path: Path, pixels: FloatArray, source: Photo | None) -> None:
        from coser_cli.imageio.write import write_photo

        if path in self.missing:
            write_photo(path, pixels, source, self.work.encoding, self.record(path))

    def _write_references(
        self, pictures: Sequence[FloatArray], scores: tuple[float, ...] | None
    ) -> None:
        """A single reference is the target; several stand beside their contact sheet."""
        if scores is None:
            self._write(self.job.target, pictures[0], self.photo)
            return
        for path, pixels in zip(self.job.references, pictures, strict=True):
            self._write(path, pixels, self.photo)
        size = pictures[0].shape[2], pictures[0].shape[1]
        self._write(self.job.target, sheet(self.photo.pixels, pictures, scores, size), None)


def sheet(
    given: FloatArray,
    pictures: Sequence[FloatArray],
    scores: Sequence[float],
    size: tuple[int, int],
) -> FloatArray:
    """The contact sheet of candidates, shown beside the input; `size` (width, height) is theirs."""
    from coser_cli.imageio.contact_sheet import contact_sheet

    labels = [f"{number}   {score:.4f}" for number, score in enumerate(scores, start=1)]
    return contact_sheet([given, *pictures], ["input", *labels], size)


def target(size: tuple[int, int], settings: Settings) -> tuple[int, int]:
    """Size of the result of a picture of `size`, both (width, height)."""
    from coser_cli.engine.preparation import target_size

    height, width = target_size(size[1], size[0], settings.scale)
    return width, height


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the picture's name before what the engine reports, which knows no names."""
    try:
        yield
    except (WeightsError, UsageError):
        raise
    except CoserError as error:
        if shown(source) in error.message:
            raise
        raise type(error)(f"cannot enlarge {shown(source)}: {error.message}", error.hint) from error
    except RuntimeError as error:
        from coser_cli.engine.retry import REMEDY, is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"cannot enlarge {shown(source)}: out of memory", REMEDY) from error


def arrays(pixels: Tensor) -> list[FloatArray]:
    """`(N, 3, H, W)` tensor → N float32 arrays `(3, H, W)`; `InputError` where it is not finite."""
    values: FloatArray = pixels.detach().float().cpu().numpy()
    if not bool((values == values).all()):
        raise InputError("the network's result is not a number somewhere", "use --dtype float32")
    return list(values)
