"""Boxes of a resampled map against torch's resampling of the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from coser_cli.size import Size
from coser_cli.tiling.canvas import Shape, TensorMap
from coser_cli.tiling.grid import Box
from coser_cli.tiling.resample import Resampler, resample_whole, resample_with

KERNELS = {"bicubic": False, "antialiased": True}
LIMIT = 1e-6


class Watched(TensorMap):
    """A map that notes what was read."""

    def __init__(self, tensor):
        super().__init__(tensor)
        self.boxes: list[Box] = []

    def read(self, box):
        self.boxes.append(box)
        return super().read(box)


def noise(shape: Shape) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))


def whole(pixels: torch.Tensor, size: tuple[int, int], kernel: str) -> torch.Tensor:
    # channels last: in the other layout torch 2.14 gets antialiased columns of width 1 wrong
    laid_out = pixels.contiguous(memory_format=torch.channels_last)
    return F.interpolate(laid_out, size=size, mode="bicubic", antialias=KERNELS[kernel])


def resample_box(source, size, box, kernel):
    """Its part of `source` resampled to `size`."""
    rows = Resampler(source.shape[1], size.height, kernel)
    return resample_with(source, rows, Resampler(source.shape[2], size.width, kernel), box)


@st.composite
def inside(draw, height: int, width: int) -> Box:
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Box(top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width)))


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.sampled_from(sorted(KERNELS)),
    st.data(),
)
def test_a_box_is_that_of_the_whole(source_size, size, kernel, data):
    pixels = noise((3, *source_size))
    box = data.draw(inside(*size))
    found = resample_box(TensorMap(pixels), Size(*size), box, kernel)
    assert found.shape == (1, 3, box.height, box.width)
    assert (found - box.crop(whole(pixels, size, kernel))).abs().max() <= LIMIT


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("sizes", [(16384, 65500), (30001, 70011), (13777, 54321)])
def test_far_from_the_origin(sizes, kernel):
    """Where float32 coordinates are off by a thousandth of a pixel, in torch and here alike."""
    pixels, size = noise((1, sizes[0], 2)), (sizes[1], 2)
    box = Box(sizes[1] - 999, 0, sizes[1] - 2, 2)
    found = resample_box(TensorMap(pixels), Size(*size), box, kernel)
    assert (found - box.crop(whole(pixels, size, kernel))).abs().max() <= LIMIT


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_only_the_window_is_read(kernel):
    source = Watched(noise((3, 100, 100)))
    resample_box(source, Size(400, 400), Box(200, 40, 240, 80), kernel)
    (read,) = source.boxes
    assert (read.top, read.bottom) == (48, 62)
    assert read.width == 14


@pytest.mark.parametrize("size", [(7, 9), (224, 224), (700, 650)])
def test_a_whole_map_at_a_small_size(size):
    source = Watched(noise((3, 300, 411)))
    found = resample_whole(source, Size(*size))
    assert (found - whole(source.tensor, size, "bicubic")).abs().max() <= LIMIT
    assert max(box.height for box in source.boxes) <= 4


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 80))
def test_weights_sum_to_one(kernel, in_size, out_size):
    matrix = Resampler(in_size, out_size, kernel).matrix(0, out_size)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(out_size))
