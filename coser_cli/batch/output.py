"""Finished pictures → a job's files: the same files in the same order, whether the pictures are in
memory or come from disk band by band.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from coser_cli.imageio.encoding import Encoding
from coser_cli.imageio.photo import FloatArray, Photo
from coser_cli.size import Size

if TYPE_CHECKING:
    from coser_cli.batch.picture import LoadedJob
    from coser_cli.batch.results import Result
    from coser_cli.imageio.record import Record

COMPARED_SIDE = 4096
"""Pixels per side above which a result is reduced before it is compared."""
THUMBNAIL = 512
"""Longer side of pictures from disk in a contact sheet."""


class Picture(Protocol):
    """A finished picture `(3, H, W)` in [0, 1]."""

    @property
    def size(self) -> Size: ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""
        ...

    def reduced(self, side: int) -> FloatArray:
        """Pixels `(3, h, w)` for a preview: from disk, with no side above `side`."""
        ...

    def write(
        self, path: Path, source: Photo | None, encoding: Encoding, record: Record | None
    ) -> None:
        """Write a file; see `imageio.write.write_photo`."""
        ...


@dataclass(frozen=True)
class PictureInMemory:
    """A `Picture` that is an array."""

    pixels: FloatArray

    @property
    def size(self) -> Size:
        return Size.of(self.pixels)

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def reduced(self, side: int) -> FloatArray:
        return self.pixels

    def write(
        self, path: Path, source: Photo | None, encoding: Encoding, record: Record | None
    ) -> None:
        from coser_cli.imageio.write import write_photo

        write_photo(path, self.pixels, source, encoding, record)


@dataclass(frozen=True)
class Outputs:
    """The pictures of a job that are not yet written, and its result.

    `image` is the enlarged picture, None where the job is for references alone, or for a
    comparison. `is_written`: it has been written already.
    """

    result: Result
    image: Picture | None = None
    references: Sequence[Picture] = ()
    is_written: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that are held until it is written."""
        own = 0 if self.image is None else self.image.nbytes
        return own + sum(each.nbytes for each in self.references)


def write_outputs(loaded: LoadedJob, outputs: Outputs) -> None:
    """Write what is missing. The target comes last: if it exists, all is complete."""
    if outputs.image is not None:
        _write_result(loaded, outputs.image, outputs.references)
    elif loaded.job.kind == "reference":
        _write_candidates(loaded, outputs.references, outputs.result.scores)
    else:
        _write_comparison(loaded, None, None)


def _write_result(loaded: LoadedJob, image: Picture, references: Sequence[Picture]) -> None:
    job, opaque = loaded.job, replace(loaded.photo, alpha=None, grey=False)
    for path, picture in zip(job.references if references else (), references, strict=True):
        _write(loaded, path, picture, opaque)
    _write_comparison(loaded, image, references[0] if references else None)
    _write(loaded, job.target, image, loaded.photo)


def _write_candidates(
    loaded: LoadedJob, candidates: Sequence[Picture], scores: tuple[float, ...] | None
) -> None:
    """A single reference is the target; several lie beside their contact sheet."""
    job, photo = loaded.job, loaded.photo
    if scores is None:
        _write(loaded, job.target, candidates[0], photo)
        return
    for path, picture in zip(job.references, candidates, strict=True):
        _write(loaded, path, picture, photo)
    if job.target in loaded.missing:
        from coser_cli.imageio.contact_sheet import contact_sheet

        reduced = [each.reduced(THUMBNAIL) for each in candidates]
        labels = [f"{number}   {score:.4f}" for number, score in enumerate(scores, start=1)]
        pictures = [photo.pixels, *reduced]
        sheet = contact_sheet(pictures, ["input", *labels], Size.of(reduced[0]))
        _write(loaded, job.target, PictureInMemory(sheet), None)


def _write(loaded: LoadedJob, path: Path, picture: Picture, source: Photo | None) -> None:
    if path in loaded.missing:
        picture.write(path, source, loaded.work.request.encoding, loaded.record(path))


def _write_comparison(loaded: LoadedJob, image: Picture | None, reference: Picture | None) -> None:
    """Write the comparison, if it is missing; pictures that were not computed now are read from
    their files.
    """
    job, photo = loaded.job, loaded.photo
    if job.comparison is None or job.comparison not in loaded.missing:
        return
    from coser_cli.imageio.comparison import write_comparison
    from coser_cli.imageio.preview import preview_of, read_preview

    if image is None or job.target not in loaded.missing:
        result = read_preview(job.target, COMPARED_SIDE)
    else:
        result = preview_of(Photo(image.reduced(COMPARED_SIDE), alpha=photo.alpha), image.size)
    guide = None if reference is None else preview_of(Photo(reference.reduced(COMPARED_SIDE)))
    if guide is None and job.references and os.path.lexists(job.references[0]):
        guide = read_preview(job.references[0], COMPARED_SIDE)
    record = loaded.record(job.comparison)
    write_comparison(job.comparison, preview_of(photo), result, guide, record)
