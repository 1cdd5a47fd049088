"""Sizes that networks work at."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.size import LONGEST, Size, size_to_work_at, working_scale, working_size

SIDES = st.integers(1, 4000)


@given(SIDES, SIDES, st.integers(1, 600))
def test_small_results_are_made_larger_in_proportion(height, width, least):
    target = Size(height, width)
    size = working_size(target, least)
    if target.short_side >= least:
        assert size == target
        return
    assert size.height >= height
    assert size.width >= width
    short, long = size.short_side, size.long_side
    assert short == least or abs(long - LONGEST * least) <= 1 or size == target
    assert long <= max(LONGEST * least, target.long_side)
    factor = long / target.long_side
    assert abs(short - factor * target.short_side) <= 0.5 + factor / 2 or short == 1


@pytest.mark.parametrize("target", [Size(7, 9), Size(600, 20), Size(512, 512)])
def test_without_a_least_size_nothing_is_made_larger(target):
    assert working_size(target, 0) == target
    assert working_scale(target, target, 1.7) == 1.7


def test_the_scale_to_the_size_to_work_at():
    assert working_size(Size(100, 50), 200) == Size(400, 200)
    assert working_scale(Size(100, 50), Size(400, 200), 2.0) == 8.0


def test_both_orders_and_what_people_read():
    size = Size(height=400, width=640)
    assert size.hw == (400, 640)
    assert size.wh == (640, 400)
    assert str(size) == "640×400"
    assert Size.of(np.zeros((1, 3, 400, 640))) == size


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        (Size(50, 100), 50, Size(25, 50)),
        (Size(1, 4000), 100, Size(1, 100)),
        (Size(2, 3), 100, Size(2, 3)),
    ],
)
def test_within_a_side(size, side, expected):
    assert size.within(side) == expected


@pytest.mark.parametrize(
    ("other", "same"), [(Size(200, 320), True), (Size(197, 320), True), (Size(320, 200), False)]
)
def test_shapes_that_count_as_one(other, same):
    assert Size(400, 640).has_shape_of(other, 0.02) is same


def test_a_size_is_no_tuple():
    """So that nobody takes it in the other order."""
    with pytest.raises(TypeError):
        tuple(Size(1, 2))
    assert Size(1, 2) != (1, 2)


@given(SIDES, SIDES, st.integers(1, 64))
def test_padded_sides_are_the_next_multiples(height, width, multiple):
    padded = Size(height, width).padded(multiple)
    assert padded.height % multiple == padded.width % multiple == 0
    assert 0 <= padded.height - height < multiple
    assert 0 <= padded.width - width < multiple
    assert padded // multiple == Size(-(-height // multiple), -(-width // multiple))


@dataclass(frozen=True)
class Made:
    """What a model is made for."""

    working_size: int = 0
    working_scale: float = 0.0


@pytest.mark.parametrize(
    ("made", "scale", "expected"),
    [
        (Made(), 2.0, Size(60, 40)),
        (Made(working_scale=4), 2.0, Size(120, 80)),
        (Made(working_scale=4), 1.5, Size(120, 80)),
        (Made(working_scale=4), 5.0, Size(150, 100)),
        (Made(working_size=160, working_scale=4), 2.0, Size(240, 160)),
    ],
)
def test_what_a_model_is_made_for(made: Made, scale: float, expected: Size) -> None:
    assert size_to_work_at(made, Size(30, 20), scale) == expected
