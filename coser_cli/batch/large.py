"""A job whose picture is too large for memory, or too large for the networks to see at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from coser_cli.batch.picture import COMPARED_SIDE, sheet
from coser_cli.batch.provenance import tiling_of
from coser_cli.batch.results import Result
from coser_cli.engine.compute.memory import gib
from coser_cli.engine.tiled.cost import Cost, Task, cost_in_tiles
from coser_cli.engine.tiled.results import Large
from coser_cli.engine.tiled.upscaler import TiledUpscaler
from coser_cli.tiling.canvas import Readable, Scratch, TensorMap
from coser_cli.tiling.grid import Box, bands
from coser_cli.tiling.resample import Resampler, resample_with

if TYPE_CHECKING:
    from coser_cli.batch.picture import Making
    from coser_cli.imageio.photo import FloatArray, Photo

ROWS = 64
"""Of a result, made and written at once."""
REDUCED_ROWS = 16
"""Of a reduced picture, made at once."""
THUMBNAIL = 512
"""Longer side of pictures in a contact sheet."""


def make_large(making: Making, why: str) -> Result:
    """Make and write a job's pictures in tiles; `why` is told to the user where it is not "".

    Raises `InputError` where the temporary space or the format does not suffice.
    """
    from coser_cli.imageio.formats import require_streamable

    spec, photo = making.work.spec, making.photo
    width, height = photo.size
    task = Task(
        (height, width),
        making.upscaler.complete(making.settings),
        spec,
        imported=len(making.work.references),
        want_reference=making.want_reference or making.job.kind == "reference",
    )
    cost = cost_in_tiles(making.upscaler, task)
    for path in making.missing:
        require_streamable(path, cost.size[1], cost.size[0])
    making = replace(making, tiling=tiling_of(spec, cost.diffusion.tile_batch))
    with Scratch(spec.temp_dir) as scratch:
        scratch.require(cost.disk)
        tiled = TiledUpscaler(
            making.upscaler,
            spec,
            scratch,
            tile_batch=cost.diffusion.tile_batch,
            vae=cost.vae,
            on_progress=making.tell,
        )
        pixels = TensorMap(torch.from_numpy(photo.pixels)[None])
        if making.job.kind == "reference":
            large = tiled.candidates(pixels, task.settings)
            _write_candidates(making, large)
        else:
            given = [TensorMap(torch.from_numpy(r.pixels)[None]) for r in making.work.references]
            large = tiled.upscale(
                pixels, task.settings, want_reference=task.want_reference, references=given
            )
            _write(making, large)
    notes = ((_words(cost, why),) if why else ()) + large.notes
    return Result(making.job, "done", notes=notes, scores=large.scores, chosen=large.chosen)


def _words(cost: Cost, why: str) -> str:
    return f"{why}: done in tiles, with {gib(cost.disk)} GiB of temporary space"


def _write(making: Making, large: Large) -> None:
    """The target last: a finished one means that everything is there."""
    opaque = replace(making.photo, alpha=None, grey=False)
    paths = making.job.references if large.references else ()
    for path, picture in zip(paths, large.references, strict=True):
        _write_one(making, path, picture, opaque)
    if making.job.comparison in making.missing:
        _, height, width = large.pixels.shape
        guides = [_reduced(each, COMPARED_SIDE) for each in large.references[:1]]
        reduced = _reduced(large.pixels, COMPARED_SIDE)
        making.compare(reduced, guides[0] if guides else None, (width, height))
    _write_one(making, making.job.target, large.pixels, making.photo)


def _write_candidates(making: Making, large: Large) -> None:
    """A single reference is the target; several stand beside their contact sheet."""
    if large.scores is None:
        _write_one(making, making.job.target, large.pixels, making.photo)
        return
    for path, picture in zip(making.job.references, large.references, strict=True):
        _write_one(making, path, picture, making.photo)
    if making.job.target in making.missing:
        from coser_cli.imageio.write import write_photo

        pictures = [_reduced(each, THUMBNAIL) for each in large.references]
        size = pictures[0].shape[2], pictures[0].shape[1]
        made = sheet(making.photo.pixels, pictures, large.scores, size)
        record = making.record(making.job.target)
        write_photo(making.job.target, made, None, making.work.encoding, record)


def _write_one(making: Making, path: Path, picture: Readable, source: Photo) -> None:
    from coser_cli.imageio.write import write_streamed

    if path not in making.missing:
        return
    _, height, width = picture.shape
    told = (height + ROWS - 1) // ROWS

    def rows() -> Iterator[FloatArray]:
        for done, band in enumerate(bands(height, ROWS), start=1):
            values = picture.read(Box(band.start, 0, band.stop, width))
            yield values[0].numpy()
            making.tell("write", done, told)

    record = making.record(path)
    write_streamed(path, (width, height), rows(), source, making.work.encoding, record)


def _reduced(picture: Readable, side: int) -> FloatArray:
    """The picture `(3, H, W)`, antialiased, with `side` as its longer side if it has a longer."""
    _, height, width = picture.shape
    factor = min(1.0, side / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    rows = Resampler(height, size[0], "antialiased")
    columns = Resampler(width, size[1], "antialiased")
    boxes = [Box(band.start, 0, band.stop, size[1]) for band in bands(size[0], REDUCED_ROWS)]
    made = [resample_with(picture, rows, columns, box).clamp(0, 1) for box in boxes]
    values: FloatArray = torch.cat(made, dim=2)[0].numpy()
    return values
