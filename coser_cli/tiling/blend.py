"""Predictions of overlapping tiles, averaged under a window; rows leave as soon as they are final.

A grid's tiles are every top with every left, and windows are products of a profile per axis. So is
the sum of all windows, and each tile's share of the average is known before any tile is computed:
nothing is divided afterwards, and only the rows that tiles still reach are held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from coser_cli.tiling.grid import Box, Grid

Profile = Callable[[int], Tensor]
"""length -> weights `(length,)` float64 along one axis, positive."""

VARIANCE = 0.01
"""Of the Gaussian, in units of the tile's squared side."""


@dataclass(frozen=True)
class Window:
    """The weight of a tile at each of its cells: the product of both profiles.

    `flat_borders`: towards the picture's own border a tile keeps its full weight, as no other tile
    covers it better.
    """

    rows: Profile
    columns: Profile
    flat_borders: bool = True


def centred_bell(length: int) -> Tensor:
    """A Gaussian, 1 at the centre: exp(-(x - centre)² / (2·VARIANCE·length²)), symmetric."""
    return _bell(length, (length - 1) / 2)


def published_rows(length: int) -> Tensor:
    """The vertical profile of the published code, half a cell off centre."""
    return _bell(length, length / 2)


def uniform(length: int) -> Tensor:
    """The same weight everywhere: plain averaging."""
    return torch.ones(length, dtype=torch.float64)


GAUSSIAN = Window(centred_bell, centred_bell)
PUBLISHED = Window(published_rows, centred_bell, flat_borders=False)
"""Only for comparison with the published code."""


def axis_shares(
    firsts: tuple[int, ...], tile: int, length: int, profile: Profile, flat_borders: bool
) -> Tensor:
    """Each tile's share of the average along one axis, `(tiles, tile)` float64; they add up to 1 at
    every cell of `length`.
    """
    weights = profile(tile).repeat(len(firsts), 1)
    if flat_borders:
        highest, centre = weights.max(), tile // 2
        weights[0, :centre] = highest
        weights[-1, tile - centre :] = highest
    total = torch.zeros(length, dtype=torch.float64)
    for first, row in zip(firsts, weights, strict=True):
        total[first : first + tile] += row
    return torch.stack(
        [row / total[first : first + tile] for first, row in zip(firsts, weights, strict=True)]
    )


class Blend:
    """The average of tiles over a grid, added tile by tile in the order of `Grid.boxes`.

    Values are `(n, C, tile, tile)` each; the average leaves by `take`, in float32, or in float64 if
    the values are.
    """

    def __init__(self, grid: Grid, window: Window = GAUSSIAN) -> None:
        tile, size, flat = grid.tile_size, grid.size, window.flat_borders
        rows = axis_shares(grid.tops, tile.height, size.height, window.rows, flat)
        columns = axis_shares(grid.lefts, tile.width, size.width, window.columns, flat)
        self._rows = dict(zip(grid.tops, rows, strict=True))
        self._columns = dict(zip(grid.lefts, columns, strict=True))
        self._width = size.width
        self._first = 0
        self._held: Tensor | None = None

    def add(self, box: Box, values: Tensor) -> None:
        """Count a tile in; its rows must not have been taken."""
        shares = torch.outer(self._rows[box.top], self._columns[box.left]).to(values.device)
        held = self._reach(box.bottom, values)
        box.moved(-self._first, 0).crop(held).add_(values.to(held.dtype) * shares.to(held.dtype))

    def take(self, until: int) -> Tensor:
        """The average of the rows before `until` that were not taken yet, `(n, C, rows, width)`;
        no tile may reach them any more.
        """
        assert self._held is not None, "nothing was added"
        count = until - self._first
        rows, self._held = self._held[..., :count, :], self._held[..., count:, :].clone()
        self._first = until
        return rows

    def _reach(self, bottom: int, like: Tensor) -> Tensor:
        """The held rows, with empty ones below them up to `bottom`."""
        shape = (*like.shape[:2], 0, self._width)
        dtype = torch.promote_types(like.dtype, torch.float32)
        held = like.new_zeros(shape, dtype=dtype) if self._held is None else self._held
        lacking = bottom - self._first - held.shape[2]
        if lacking > 0:
            empty = held.new_zeros((*held.shape[:2], lacking, self._width))
            held = torch.cat((held, empty), dim=2)
        self._held = held
        return held


def _bell(length: int, centre: float) -> Tensor:
    x = torch.arange(length, dtype=torch.float64)
    return torch.exp(-((x - centre) ** 2) / (2 * VARIANCE * length**2))
