from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coser_cli.size import Size
from coser_cli.tiling.blend import (
    GAUSSIAN,
    PUBLISHED,
    Blend,
    Window,
    axis_shares,
    centred_bell,
    published_rows,
    uniform,
)
from coser_cli.tiling.grid import Grid, make_grid

UNIFORM = Window(uniform, uniform)
WINDOWS = [GAUSSIAN, PUBLISHED, UNIFORM]


@st.composite
def grids(draw) -> Grid:
    side = draw(st.integers(2, 16))
    stride = draw(st.integers(max(1, side // 2), side))
    offset = draw(st.integers(0, stride - 1)), draw(st.integers(0, stride - 1))
    size = Size(draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    return make_grid(size, side, stride, offset)


def blended(grid: Grid, window: Window, values) -> torch.Tensor:
    """The average, taken in as many pieces as rows become final."""
    blend, pieces, boxes = Blend(grid, window), [], grid.boxes()
    for index, box in enumerate(boxes):
        blend.add(box, values(box))
        following = boxes[index + 1].top if index + 1 < len(boxes) else grid.size.height
        if following > box.top:
            pieces.append(blend.take(following))
    return torch.cat(pieces, dim=2)


@settings(deadline=None)
@given(grids(), st.sampled_from(WINDOWS))
def test_tiles_of_one_picture_give_the_picture(grid, window):
    picture = torch.randn(2, 4, *grid.size.hw, generator=torch.Generator().manual_seed(0))
    found = blended(grid, window, lambda box: box.crop(picture))
    torch.testing.assert_close(found, picture, rtol=0, atol=2e-6)


def test_each_tile_counts_where_it_lies():
    found = blended(
        make_grid(Size(4, 8), 4, 4), GAUSSIAN, lambda box: torch.full((1, 1, 4, 4), box.left)
    )
    assert found[..., :4].eq(0).all()
    assert found[..., 4:].eq(4).all()


def test_half_precision_predictions_do_not_lose_the_corners():
    """The published window falls to 1e-10 in the corners, which float16 does not have."""
    ones = torch.ones(1, 4, 16, 16).half()
    found = blended(make_grid(Size(20, 20), 16, 8), PUBLISHED, lambda box: ones)
    torch.testing.assert_close(found, torch.ones(1, 4, 20, 20))


@given(grids(), st.sampled_from([centred_bell, published_rows, uniform]), st.booleans())
def test_shares_add_up_to_one(grid, profile, flat):
    total = torch.zeros(grid.size.height, dtype=torch.float64)
    shares = axis_shares(grid.tops, grid.tile_size.height, grid.size.height, profile, flat)
    for top, share in zip(grid.tops, shares, strict=True):
        total[top : top + grid.tile_size.height] += share
    torch.testing.assert_close(total, torch.ones_like(total))


def test_the_window_is_not_ramped_at_the_pictures_own_border():
    """A tile's neighbour, seeing the border's cells from its rim, must not outvote it there."""
    flat, ramped = (axis_shares((0, 2), 16, 18, centred_bell, each)[0] for each in (True, False))
    assert flat[2] > 0.9999  # where the second tile begins
    assert ramped[2] < 0.999
    assert flat[:6].min() > ramped[:6].min()


@pytest.mark.parametrize("side", [1, 2, 7, 16])
def test_our_profile_is_symmetric_and_the_published_one_is_not(side):
    bell = centred_bell(side)
    assert torch.equal(bell, bell.flip(0))
    assert bell.min() > 0
    assert side == 1 or not torch.allclose(published_rows(side), published_rows(side).flip(0))
