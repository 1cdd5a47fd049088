"""Cognition of each tile, mixed with that of the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.size import Size
from coser_cli.tiling.canvas import Map, Readable, Scratch
from coser_cli.tiling.grid import Box, Grid

LOCAL_SHARE = 0.5
"""Weight of a tile's own embedding; the rest is the whole picture's."""


class TileCognition:
    """Cognition of tiles, one entry each, computed when first used.

    `look(box)` is the embedding `(1, T_e, C)` of a tile alone. Embeddings are stored on disk, as
    there may be thousands.
    """

    def __init__(
        self, whole: Cognition, look: Callable[[Box], Tensor], grid: Grid, scratch: Scratch
    ) -> None:
        self._whole = whole
        self._look = look
        self._places = {box: index for index, box in enumerate(grid.boxes())}
        self._computed: set[Box] = set()
        self._width = whole.embedding[0].numel()
        self._store: Map = scratch.canvas((1, len(self._places), self._width))

    def __call__(self, tiles: Sequence[Box]) -> Cognition:
        """Embeddings `(len(tiles), T_e, C)`, with the texts of the whole picture."""
        whole = self._whole.embedding
        local = torch.cat([self._embedding(box) for box in tiles]).to(whole)
        mixed = torch.lerp(whole.expand_as(local), local, LOCAL_SHARE)
        return Cognition(mixed, self._whole.text, self._whole.negative)

    def _embedding(self, box: Box) -> Tensor:
        place = self._places[box]
        row = Box(place, 0, place + 1, self._width)
        if box not in self._computed:
            self._store.write(row, self._look(box).reshape(1, 1, 1, -1).float().cpu())
            self._computed.add(box)
        return self._store.read(row).reshape(self._whole.embedding.shape)


def local_cognition(
    runtime: Runtime,
    whole: Cognition,
    pre_restored: Readable,
    size: Size,
    grid: Grid,
    scratch: Scratch,
) -> TileCognition:
    """Cognition of the tiles of `grid` on the latents of a picture of `size`, computed from
    `pre_restored` `(3, H, W)`.
    """
    factor = runtime.model.config.downscale * pre_restored.shape[1] / size.height

    def look(box: Box) -> Tensor:
        field = box.stretched(factor).inside(Size.of(pre_restored))
        pixels = pre_restored.read(field).to(runtime.device, runtime.dtype)
        return runtime.model.cognition(pixels)

    return TileCognition(whole, look, grid, scratch)
