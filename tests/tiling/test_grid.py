from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.size import Size
from coser_cli.tiling.grid import Box, boxes, cores, starts


@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_tiles_cover_and_stay_inside(length, tile, data):
    stride = data.draw(st.integers(1, tile))
    found = starts(length, tile, stride)
    covered = {x for start in found for x in range(start, min(start + tile, length))}
    assert covered == set(range(length))
    assert found == sorted(set(found))
    assert all(start + tile <= length for start in found) or found == [0]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(4, 20))
def test_boxes_have_the_tile_size_or_the_map_s(height, width, tile):
    for box in boxes(Size(height, width), tile, tile - 3):
        assert (box.height, box.width) == (min(tile, height), min(tile, width))


def test_order_is_row_by_row_and_the_last_is_aligned():
    found = [(box.top, box.left) for box in boxes(Size(24, 32), 16, 8)]
    assert found == [(0, 0), (0, 8), (0, 16), (8, 0), (8, 8), (8, 16)]
    assert starts(224, 160, 128) == [0, 64]


@pytest.mark.parametrize("stride", [0, 17])
def test_gaps_are_refused(stride):
    with pytest.raises(ValueError, match="stride"):
        starts(100, 16, stride)


def test_crop_is_a_view():
    maps = torch.arange(24).reshape(1, 1, 4, 6)
    box = Box(1, 2, 3, 5)
    assert box.crop(maps).flatten().tolist() == [8, 9, 10, 14, 15, 16]
    assert box.crop(maps).data_ptr() == maps[0, 0, 1, 2:].data_ptr()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
def test_cores_cover_every_cell_once_row_by_row(height, width, side):
    count = torch.zeros(height, width)
    found = cores(Size(height, width), side)
    for box in found:
        assert 1 <= box.height <= side
        assert 1 <= box.width <= side
        box.crop(count).add_(1)
    assert count.eq(1).all()
    assert found == sorted(found, key=lambda box: (box.top, box.left))
    assert len({box.height for box in found}) <= 2, "nearly equal"


def test_boxes_move_between_maps():
    box = Box(2, -1, 5, 9)
    assert box.scaled(2) == Box(4, -2, 10, 18)
    assert box.inside(Size(4, 8)) == Box(2, 0, 4, 8)
    assert box.relative_to(Box(1, -3, 9, 9)) == Box(1, 2, 4, 12)
    assert box.around(Box(0, 3, 3, 12)) == Box(0, -1, 5, 12)
