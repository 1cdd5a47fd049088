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


def starts(length: int, tile: int, stride: int) -> list[int]:
    """First cells of tiles that cover `length`, ascending; the last is aligned to the far edge.

    One tile at 0 where `length` <= `tile`. Raises ValueError unless 1 <= stride <= tile.
    """
    if not 1 <= stride <= tile:
        raise ValueError(f"stride must lie in 1..{tile}, not {stride}")
    last = max(length - tile, 0)
    return [*range(0, last, stride), last]


def boxes(height: int, width: int, tile: int, stride: int) -> list[Box]:
    """Tiles over a map of `height` × `width`, row by row; smaller than `tile` where the map is."""
    return [
        Box(top, left, min(top + tile, height), min(left + tile, width))
        for top in starts(height, tile, stride)
        for left in starts(width, tile, stride)
    ]
