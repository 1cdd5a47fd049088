"""Where tiles lie: pure geometry, in any unit (latent cells, pixels)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from coser_cli.size import Size

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Box:
    """A rectangle of a map; `bottom` and `right` lie just outside."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def whole(cls, size: Size) -> Box:
        """All of a map."""
        return cls(0, 0, size.height, size.width)

    @property
    def size(self) -> Size:
        return Size(self.height, self.width)

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def scaled(self, factor: int) -> Box:
        """The same place on a map `factor` times as large."""
        return Box(self.top * factor, self.left * factor, self.bottom * factor, self.right * factor)

    def stretched(self, factor: float) -> Box:
        """The smallest box around this one at another resolution, by any factor."""
        top, left = math.floor(self.top * factor), math.floor(self.left * factor)
        return Box(top, left, math.ceil(self.bottom * factor), math.ceil(self.right * factor))

    def inside(self, size: Size) -> Box:
        """The part of the box that lies on a map of that size."""
        bottom, right = min(self.bottom, size.height), min(self.right, size.width)
        return Box(max(self.top, 0), max(self.left, 0), bottom, right)

    def widened(self, reach: int) -> Box:
        """The box and `reach` around it."""
        top, left = self.top - reach, self.left - reach
        return Box(top, left, self.bottom + reach, self.right + reach)

    def moved(self, down: int, right: int) -> Box:
        """A box of the same size elsewhere."""
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)

    def relative_to(self, other: Box) -> Box:
        """The same place, counted from the corner of `other`."""
        return self.moved(-other.top, -other.left)

    def around(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def crop(self, maps: Tensor) -> Tensor:
        """The view of maps `(..., H, W)` inside the box."""
        return maps[..., self.top : self.bottom, self.left : self.right]


def starts(length: int, tile: int, stride: int, offset: int = 0) -> list[int]:
    """First cells of tiles that cover `length`, ascending; the last is aligned to the far edge.

    One tile at 0 where `length` <= `tile`. `offset` (0 … stride-1) moves the inner tiles; the edges
    stay covered. Raises ValueError unless 1 <= stride <= tile.
    """
    if not 1 <= stride <= tile:
        raise ValueError(f"stride must lie in 1..{tile}, not {stride}")
    last = max(length - tile, 0)
    return sorted({0, *range(offset, last, stride), last})


@dataclass(frozen=True)
class Grid:
    """Tiles over a map of that size: every top with every left.

    Tiles are `tile` cells long on each side, or as long as the map where that is shorter.
    """

    size: Size
    tile: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def tile_size(self) -> Size:
        return Size(min(self.tile, self.size.height), min(self.tile, self.size.width))

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def boxes(self) -> list[Box]:
        """The tiles, row by row."""
        tile = self.tile_size
        return [
            Box(top, left, top + tile.height, left + tile.width)
            for top in self.tops
            for left in self.lefts
        ]

    def settled(self, box: Box) -> int:
        """The first row that tiles after `box`, in the order of `boxes`, still reach."""
        if box.left != self.lefts[-1]:
            return box.top
        below = self.tops.index(box.top) + 1
        return self.tops[below] if below < len(self.tops) else self.size.height


def make_grid(size: Size, tile: int, stride: int, offset: tuple[int, int] = (0, 0)) -> Grid:
    """Tiles of `tile` cells, `stride` apart, the inner ones moved by `offset` (down, right)."""
    down, right = offset
    tops, lefts = starts(size.height, tile, stride, down), starts(size.width, tile, stride, right)
    return Grid(size, tile, tuple(tops), tuple(lefts))


def boxes(size: Size, tile: int, stride: int) -> list[Box]:
    """Tiles over a map of that size, row by row; smaller than `tile` where the map is."""
    return make_grid(size, tile, stride).boxes()


def bands(height: int, rows: int) -> Iterator[range]:
    """Ranges of at most `rows` rows that cover `height`, from top to bottom."""
    return (range(top, min(top + rows, height)) for top in range(0, height, rows))


def cores(size: Size, side: int) -> list[Box]:
    """Boxes that cover the map once, row by row, none larger than `side`, all nearly equal."""
    rows, columns = _parts(size.height, side), _parts(size.width, side)
    return [Box(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _parts(length: int, side: int) -> list[tuple[int, int]]:
    count = -(-length // side)
    edges = [index * length // count for index in range(count + 1)]
    return list(pairwise(edges))
