"""Where tiles lie: pure geometry, in whatever unit the caller counts (latent cells, pixels)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Box:
    """A rectangle of a map; `bottom` and `right` lie just outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

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
    """Tiles over a map of `height` × `width`: every top with every left.

    Tiles are `tile` cells long on each side, or as long as the map where that is shorter.
    """

    height: int
    width: int
    tile: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def tile_height(self) -> int:
        return min(self.tile, self.height)

    @property
    def tile_width(self) -> int:
        return min(self.tile, self.width)

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def boxes(self) -> list[Box]:
        """The tiles, row by row."""
        return [
            Box(top, left, top + self.tile_height, left + self.tile_width)
            for top in self.tops
            for left in self.lefts
        ]


def make_grid(
    height: int, width: int, tile: int, stride: int, offset: tuple[int, int] = (0, 0)
) -> Grid:
    """Tiles of `tile` cells, `stride` apart, the inner ones moved by `offset` (down, right)."""
    down, right = offset
    tops, lefts = starts(height, tile, stride, down), starts(width, tile, stride, right)
    return Grid(height, width, tile, tuple(tops), tuple(lefts))


def boxes(height: int, width: int, tile: int, stride: int) -> list[Box]:
    """Tiles over a map of `height` × `width`, row by row; smaller than `tile` where the map is."""
    return make_grid(height, width, tile, stride).boxes()
