"""A job whose picture is too large for memory, or too large for the networks to see at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from coser_cli.batch.output import Outputs, write_outputs
from coser_cli.batch.provenance import tiling_of
from coser_cli.batch.results import Result
from coser_cli.engine.compute.memory import gib
from coser_cli.engine.mask import Grey
from coser_cli.engine.tiled.cost import Task, cost_in_tiles
from coser_cli.engine.tiled.results import Large
from coser_cli.engine.tiled.upscaler import TiledUpscaler
from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable, Scratch, TensorMap
from coser_cli.tiling.derived import reduced
from coser_cli.tiling.grid import Box, bands

if TYPE_CHECKING:
    from coser_cli.batch.picture import LoadedJob
    from coser_cli.engine.progress import Progress
    from coser_cli.imageio.encoding import Encoding
    from coser_cli.imageio.photo import FloatArray, Photo
    from coser_cli.imageio.record import Record

ROWS = 64
"""Of a result, made and written at once."""
REDUCED_ROWS = 16
"""Of a reduced picture, made at once."""


def upscale_in_tiles(loaded: LoadedJob, why: str) -> Outputs:
    """Compute and write a job's pictures in tiles; `why` becomes a note unless it is "".

    Raises `InputError` where the temporary space or the format does not suffice.
    """
    from coser_cli.imageio.formats import require_streamable

    tiles = loaded.work.request.tiles
    task = Task(
        loaded.photo.size,
        loaded.settings,
        tiles,
        imported=len(loaded.work.references),
        want_reference=loaded.want_reference or loaded.job.kind == "reference",
        conditions=len(loaded.job.conditions),
    )
    cost = cost_in_tiles(loaded.upscaler.runtime, task)
    for path in loaded.missing:
        require_streamable(path, cost.size)
    config = loaded.upscaler.model.config
    loaded = replace(loaded, tiling=tiling_of(tiles, config, cost.diffusion.tile_batch))
    with Scratch(tiles.temp_dir) as scratch:
        scratch.require(cost.disk)
        tiled = TiledUpscaler(
            loaded.upscaler.runtime,
            tiles,
            scratch,
            tile_batch=cost.diffusion.tile_batch,
            vae=cost.vae,
            on_progress=loaded.progress,
        )
        outputs = _outputs(loaded, _upscaled(loaded, tiled, task))
        write_outputs(loaded, outputs)
    if why:
        text = f"{why}: done in tiles, with {gib(cost.disk)} GiB of temporary space"
        notes = (text, *outputs.result.notes)
        outputs = replace(outputs, result=replace(outputs.result, notes=notes))
    return replace(outputs, is_written=True)


def _upscaled(loaded: LoadedJob, tiled: TiledUpscaler, task: Task) -> Large:
    pixels = TensorMap(torch.from_numpy(loaded.photo.pixels)[None])
    if loaded.job.kind == "reference":
        return tiled.candidates(pixels, task.settings)
    references = [TensorMap(torch.from_numpy(r.pixels)[None]) for r in loaded.work.references]
    return tiled.upscale(
        pixels,
        task.settings,
        want_reference=task.want_reference,
        references=references,
        conditions={
            name: TensorMap(torch.from_numpy(each.pixels)[None])
            for name, each in loaded.conditions.items()
        },
        mask=None if loaded.mask is None else Grey(torch.from_numpy(loaded.mask)[None, None]),
    )


def _outputs(loaded: LoadedJob, large: Large) -> Outputs:
    result = Result(loaded.job, "done", notes=large.notes, scores=large.scores, chosen=large.chosen)
    image = None
    if loaded.job.kind == "upscale":
        image = PictureOnDisk(large.pixels, loaded.progress)
    references = [PictureOnDisk(each, loaded.progress) for each in large.references]
    return Outputs(result, image, references)


@dataclass(frozen=True)
class PictureOnDisk:
    """A `Picture` that is computed and written band by band."""

    pixels: Readable
    progress: Progress
    nbytes: int = 0

    @property
    def size(self) -> Size:
        return Size.of(self.pixels)

    def reduced(self, side: int) -> FloatArray:
        """The picture `(3, h, w)`, antialiased, with `side` as its longer side if that is more."""
        small = self.size.within(side)
        picture, rows = reduced(self.pixels, small), bands(small.height, REDUCED_ROWS)
        parts = [picture.read(Box(band.start, 0, band.stop, small.width)) for band in rows]
        values: FloatArray = torch.cat(parts, dim=2)[0].numpy()
        return values

    def write(
        self, path: Path, source: Photo | None, encoding: Encoding, record: Record | None
    ) -> None:
        from coser_cli.imageio.write import write_streamed

        assert source is not None
        write_streamed(path, self.size, self._rows(), source, encoding, record)

    def _rows(self) -> Iterator[FloatArray]:
        size = self.size
        count = -(-size.height // ROWS)
        for done, band in enumerate(bands(size.height, ROWS), start=1):
            yield self.pixels.read(Box(band.start, 0, band.stop, size.width))[0].numpy()
            self.progress("write", done, count)
