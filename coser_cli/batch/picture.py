"""The pictures of one job: what is to be made, what was made, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coser_cli.batch.checks import arrays, naming, target
from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result
from coser_cli.batch.resume import Standing, lies
from coser_cli.settings import Settings

if TYPE_CHECKING:
    from coser_cli.engine.progress import Progress
    from coser_cli.engine.upscaler import Upscaled, Upscaler
    from coser_cli.imageio.photo import FloatArray, Photo

COMPARED_SIDE = 4096
"""Pixels per side above which a result is reduced before it is compared."""


@dataclass(frozen=True)
class Made:
    """A job's pictures `(3, H, W)`, made and not yet written, and what is to be reported.

    `pixels` is the enlarged picture, None where the job asks for references alone, or for a
    comparison. What was done in tiles is `written` already.
    """

    result: Result
    pixels: FloatArray | None = None
    references: Sequence[FloatArray] = ()
    written: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that are held until it is written."""
        own = 0 if self.pixels is None else self.pixels.nbytes
        return own + sum(each.nbytes for each in self.references)


@dataclass(frozen=True)
class Making:
    """The making of one job's pictures."""

    job: Job
    photo: Photo
    settings: Settings
    standing: Standing
    work: Work
    load: Callable[[], Upscaler]
    tell: Progress
    tiling: Mapping[str, Any] | None = None
    """How it is cut, for the records."""

    @property
    def missing(self) -> Sequence[Path]:
        """The outputs that are to be made."""
        return self.standing.missing

    @property
    def upscaler(self) -> Upscaler:
        """The engine, loaded when first asked for."""
        return self.load()

    @property
    def want_reference(self) -> bool:
        return self.job.kind == "upscale" and any(
            path in self.missing for path in self.job.references
        )

    def record(self, path: Path) -> dict[str, Any] | None:
        """The record of an output; a comparison computes nothing."""
        from coser_cli.batch.provenance import compute_of, record_of

        if self.standing.origin is None:
            return None
        record = record_of(self.job, path, self.standing.origin)
        if path == self.job.comparison:
            return record
        engine = self.upscaler
        compute = compute_of(engine.device, engine.dtype, engine.is_compiled)
        return record | {"tiling": self.tiling, "compute": compute}

    @property
    def only_compares(self) -> bool:
        """Whether all that a comparison shows is there already."""
        return not set(self.missing) - {self.job.comparison}

    def why_tiled(self) -> str | None:
        """Why the picture is done in tiles, "" where that was asked for; None: it is done whole."""
        width, height = self.photo.size
        if self.work.always_tiles or self.upscaler.low_memory:
            return ""
        return self.upscaler.why_tiled((height, width), self.settings, self.work.spec) or None

    def at_once(self) -> Made:
        """Made in memory, as a whole."""
        import torch

        pixels = torch.from_numpy(self.photo.pixels)[None]
        if self.job.kind == "reference":
            found = self.upscaler.candidates(pixels, self.settings, self.tell)
            result = Result(self.job, "done", scores=found.scores)
            return Made(result, references=arrays(found.pictures))
        made = self.upscaler.upscale(
            pixels,
            self.settings,
            on_progress=self.tell,
            want_reference=self.want_reference,
            references=[torch.from_numpy(each.pixels)[None] for each in self.work.references],
        )
        return self.made(made)

    def made(self, upscaled: Upscaled) -> Made:
        """What the engine has made of this picture alone."""
        references = () if upscaled.reference is None else arrays(upscaled.reference)
        result = Result(self.job, "done", scores=upscaled.scores, chosen=upscaled.chosen)
        return Made(result, arrays(upscaled.pixels)[0], references)

    def write(self, made: Made) -> Result:
        """Write what is missing, and say how it went; needs no model."""
        with naming(self.job.source):
            if not made.written:
                self._write_all(made)
        return replace(
            made.result,
            source_size=self.photo.size,
            target_size=target(self.photo.size, self.settings),
            seed=self.settings.seed,
            notes=self.standing.notes + self.photo.notes + made.result.notes,
        )

    def _write_all(self, made: Made) -> None:
        """The target last: a finished one means that everything is there."""
        if made.pixels is None:
            if self.job.kind == "reference":
                self._write_references(made.references, made.result.scores)
            else:
                self.compare(None, None)
            return
        opaque = replace(self.photo, alpha=None, grey=False)
        paths = self.job.references if made.references else ()
        for path, values in zip(paths, made.references, strict=True):
            self._write(path, values, opaque)
        self.compare(made.pixels, made.references[0] if made.references else None)
        self._write(self.job.target, made.pixels, self.photo)

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
