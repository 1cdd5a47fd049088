"""Alignment of pictures of any size: small ones at once, others block by block, each in the part of
the reference where an overview of the whole has found it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.engine.alignment import AGREEMENT, CELL, CORRELATION, aligned, match
from coser_cli.size import Size
from coser_cli.tiling.canvas import Map, Readable
from coser_cli.tiling.grid import Box, cores
from coser_cli.tiling.resample import resample_whole

AT_ONCE = 1024**2
"""Pixels of a frame that is aligned at once: some 300 bytes are taken for each."""
OVERVIEW = 512
"""Longest side in pixels of the overview."""
BLOCK = 512
CONTEXT = 64
"""Pixels around a block that are matched with it, so that blocks agree where they meet."""
SEARCH = 192
"""Pixels around the shifted block that are searched."""


def align_maps(
    picture: Readable, references: Sequence[Readable], target: Map, weight: float = 1.0
) -> None:
    """`alignment.aligned` of maps `(3, H, W)` in [0, 1] of one size, multiples of 4, into `target`;
    the change is multiplied by `weight`.

    Up to `AT_ONCE` pixels it is the same. Beyond, a match is found only within `SEARCH` pixels of
    where the shift of its block puts it.
    """
    size = Size.of(picture)
    if size.area <= AT_ONCE:
        whole = Box.whole(size)
        read = picture.read(whole)
        result = aligned(read[0], [each.read(whole)[0] for each in references])
        target.write(whole, torch.lerp(read, result[None], weight).clamp(0, 1))
        return
    shifts = [_Shifts(picture, each) for each in references]
    for box in cores(size, BLOCK):
        around = box.stretched(1 / CELL).scaled(CELL).widened(CONTEXT).inside(size)
        windows = [
            each.read(shift.window(around, size))[0]
            for shift, each in zip(shifts, references, strict=True)
        ]
        read = picture.read(around)
        result = torch.lerp(read, aligned(read[0], windows)[None], weight).clamp(0, 1)
        target.write(box, box.relative_to(around).crop(result))


class _Shifts:
    """How far parts of a reference are shifted, measured in an overview."""

    def __init__(self, picture: Readable, reference: Readable) -> None:
        size = Size.of(picture)
        factor = OVERVIEW / size.long_side
        small = Size(*(max(CELL, round(edge * factor / CELL) * CELL) for edge in size.hw))
        coarse = F.avg_pool2d(resample_whole(picture, small), CELL)[0]
        matches = match(coarse, resample_whole(reference, small)[0])
        height, width = matches.score.shape
        down = (matches.rows - torch.arange(height)[:, None] * CELL) * (size.height / small.height)
        right = (matches.columns - torch.arange(width) * CELL) * (size.width / small.width)
        self._shifts = torch.stack([down, right])
        self._trusted = (matches.score >= CORRELATION[0]) & (matches.coherence() >= AGREEMENT[0])
        self._per_pixel = height / size.height, width / size.width

    def window(self, box: Box, size: Size) -> Box:
        """The part of the reference in which the content of the box is searched."""
        rows, columns = self._per_pixel
        top, bottom = int(box.top * rows), max(int(box.bottom * rows), int(box.top * rows) + 1)
        left, right = int(box.left * columns), int(box.right * columns)
        cells = Box(top, left, bottom, max(right, left + 1))
        shifts = cells.crop(self._shifts)[:, cells.crop(self._trusted)]
        down, right = (_middle(each) for each in shifts)
        inside = box.moved(down, right).widened(SEARCH).inside(size)
        return inside if min(inside.height, inside.width) >= CELL else box


def _middle(shifts: Tensor) -> int:
    return round(shifts.median().item()) if len(shifts) else 0
