"""Sizes that networks work at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.size import LONGEST, working_scale, working_size

SIDES = st.integers(1, 4000)


@given(SIDES, SIDES, st.integers(1, 600))
def test_small_results_are_made_larger_in_proportion(height, width, least):
    size = working_size((height, width), least)
    if min(height, width) >= least:
        assert size == (height, width)
        return
    assert size[0] >= height
    assert size[1] >= width
    assert min(size) == least or abs(max(size) - LONGEST * least) <= 1 or size == (height, width)
    assert max(size) <= max(LONGEST * least, height, width)
    factor = max(size) / max(height, width)
    assert abs(min(size) - factor * min(height, width)) <= 0.5 + factor / 2 or min(size) == 1


@pytest.mark.parametrize("target", [(7, 9), (600, 20), (512, 512)])
def test_without_a_least_size_nothing_is_made_larger(target):
    assert working_size(target, 0) == target
    assert working_scale(target, target, 1.7) == 1.7


def test_the_scale_to_the_size_to_work_at():
    assert working_size((100, 50), 200) == (400, 200)
    assert working_scale((100, 50), (400, 200), 2.0) == 8.0
