"""Canvases on disk hold what was written, and leave nothing behind."""

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.errors import InputError
from coser_cli.tiling.canvas import Scratch, TensorMap
from coser_cli.tiling.grid import Box

SHAPE = (3, 11, 17)
WHOLE = Box(0, 0, 11, 17)


@st.composite
def inside(draw):
    top, left = draw(st.integers(0, 10)), draw(st.integers(0, 16))
    return Box(top, left, draw(st.integers(top + 1, 11)), draw(st.integers(left + 1, 17)))


@given(st.lists(inside(), max_size=5), inside())
def test_a_canvas_reads_like_a_tensor(written, read):
    expected = TensorMap(torch.zeros(1, *SHAPE))
    with Scratch() as scratch:
        canvas = scratch.canvas(SHAPE)
        for number, box in enumerate(written):
            values = torch.randn(1, 3, box.height, box.width) + number
            for target in (canvas, expected):
                target.write(box, values)
        assert torch.equal(canvas.read(read), expected.read(read))


def test_another_dtype_rounds_as_torch_does(tmp_path):
    values = torch.randn(1, *SHAPE)
    with Scratch(tmp_path) as scratch:
        canvas = scratch.canvas(SHAPE, torch.float16)
        canvas.write(WHOLE, values)
        assert torch.equal(canvas.read(WHOLE), values.half())
        assert canvas.nbytes == 3 * 11 * 17 * 2


def test_bfloat16_is_kept_as_it_is(tmp_path):
    values = (torch.randn(1, *SHAPE) * 1e30).bfloat16()
    with Scratch(tmp_path) as scratch:
        canvas = scratch.canvas(SHAPE, torch.bfloat16)
        canvas.write(WHOLE, values)
        assert torch.equal(canvas.read(WHOLE), values)
        assert torch.equal(canvas.read(Box(1, 2, 5, 9)), values[..., 1:5, 2:9])


def test_nothing_is_left_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), Scratch(tmp_path) as scratch:
        scratch.canvas(SHAPE).write(WHOLE, torch.ones(1, *SHAPE))
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_too_little_space_is_found_out_before(tmp_path):
    with Scratch(tmp_path) as scratch, pytest.raises(InputError, match="temporary space"):
        scratch.require(2**62)
