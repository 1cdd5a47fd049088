"""A graph swept tile by tile gives what the same layers give at once."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from coser_cli.size import Size
from coser_cli.tiling.canvas import Scratch, TensorMap
from coser_cli.tiling.graph import Graph
from coser_cli.tiling.grid import Box
from coser_cli.tiling.plan import Plan, schedule
from coser_cli.tiling.sweep import Sweep

CPU = torch.device("cpu")


def silu(x):
    return F.silu(x, inplace=True)


class Net(nn.Module):
    """One of everything: both resamplers, both shuffles, a skip, a concatenation, norms, a step on
    the whole map.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(12, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.down = nn.Conv2d(8, 8, 3, stride=2)
        self.both = nn.GroupNorm(4, 16)
        self.point = nn.Conv2d(16, 8, 1)
        self.last = nn.Conv2d(8, 12, 5, padding=2)
        self.double().requires_grad_(False)

    def forward(self, x):
        skip = self.first(F.pixel_unshuffle(x, 2))
        x = self.down(F.pad(F.silu(self.norm(skip)), (0, 1, 0, 1)))
        x = x - x.mean((2, 3), keepdim=True)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.point(F.silu(self.both(torch.cat((skip, x), dim=1))))
        return F.pixel_shuffle(self.last(x + skip), 2)

    def plan(self, height, width, side):
        graph = Graph()
        source = graph.source((3, height, width))
        skip = graph.convolution(graph.fold(source, 2), self.first, (1, 1))
        x = graph.convolution(graph.normalise(skip, self.norm, silu), self.down, (0, 1))
        x = graph.whole(x, lambda x: x - x.mean((2, 3), keepdim=True), 10**6)
        joined = graph.concat(skip, graph.double(x))
        x = graph.convolution(graph.normalise(joined, self.both, silu), self.point, (0, 0))
        x = graph.convolution(graph.pointwise(torch.add, x, skip), self.last, (2, 2))
        cells = Size(height, width) // 4
        return source, Plan(graph, graph.unfold(x, 2), cells, side, torch.float64)


NET = Net()


def run(source, plan, x, scratch, **options):
    target = TensorMap(torch.full_like(x, torch.nan))
    Sweep(plan, {source: TensorMap(x)}, scratch, CPU, **options).run(target.write)
    return target.tensor


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
def test_equal_at_any_size_and_tile(rows, columns, side):
    x = torch.randn(1, 3, 4 * rows, 4 * columns, dtype=torch.float64) + 3
    with Scratch() as scratch:
        found = run(*NET.plan(4 * rows, 4 * columns, side), x, scratch)
    torch.testing.assert_close(found, NET(x), rtol=0, atol=1e-12)


def test_the_result_comes_once_row_by_row_and_tiles_are_counted():
    source, plan = NET.plan(32, 40, 3)
    boxes, told = [], []
    with Scratch() as scratch:
        sweep = Sweep(
            plan,
            {source: TensorMap(torch.randn(1, 3, 32, 40))},
            scratch,
            CPU,
            on_tile=lambda done, total: told.append((done, total)),
        )
        sweep.run(lambda box, values: boxes.append(box))
    assert boxes == sorted(boxes, key=lambda box: (box.top, box.left))
    count = torch.zeros(32, 40)
    for box in boxes:
        box.crop(count).add_(1)
    assert count.eq(1).all()
    assert told == [(number, plan.tile_count) for number in range(1, plan.tile_count + 1)]


class WatchedScratch(Scratch):
    """Counts what lies on disk."""

    def __init__(self):
        super().__init__()
        self.canvases = []
        self.most = 0

    def canvas(self, shape, dtype=torch.float32):
        canvas = super().canvas(shape, dtype)
        self.canvases.append(canvas)
        self.most = max(self.most, sum(c.nbytes for c in self.open()))
        return canvas

    def open(self):
        return [canvas for canvas in self.canvases if not canvas._file.closed]


def test_scratch_is_what_was_announced_and_given_back():
    source, plan = NET.plan(32, 40, 3)
    with WatchedScratch() as scratch:
        run(source, plan, torch.randn(1, 3, 32, 40, dtype=torch.float64), scratch)
        assert scratch.canvases
        assert scratch.open() == []
        assert scratch.most == plan.scratch_bytes


def test_an_error_midway_leaves_no_maps_open(tmp_path):
    source, plan = NET.plan(32, 40, 3)

    def full(box, values):
        raise OSError("no space left")

    with Scratch(tmp_path) as scratch, pytest.raises(OSError, match="no space"):
        Sweep(plan, {source: TensorMap(torch.randn(1, 3, 32, 40))}, scratch, CPU).run(full)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limit", [16, 64])
def test_windows_of_a_step_on_the_whole_map_are_averaged(limit):
    """A step that gives every place the same value whatever it sees: no window shows."""
    graph = Graph()
    source = graph.source((2, 13, 21))
    output = graph.whole(source, lambda x: x + 1, limit)
    plan = Plan(graph, output, Size(13, 21), 4, torch.float64)
    assert plan.windowed == [output]
    x = torch.randn(1, 2, 13, 21, dtype=torch.float64)
    with Scratch() as scratch:
        torch.testing.assert_close(run(source, plan, x, scratch), x + 1, rtol=0, atol=1e-12)


def test_a_graph_without_norms_is_one_sweep_and_stores_nothing():
    graph = Graph()
    source = graph.source((12, 16, 16))
    x = graph.convolution(source, NET.first, (1, 1))
    x = graph.convolution(graph.pointwise(F.silu, x), NET.last, (2, 2))
    plan = Plan(graph, x, Size(16, 16), 4, torch.float64)
    assert len(plan.stages) == 1
    assert plan.scratch_bytes == 0


def test_a_step_is_computed_where_it_is_needed_and_nowhere_else():
    """A 3×3 and a 5×5 convolution reach three cells; at the border there is nothing to read."""
    graph = Graph()
    source = graph.source((12, 40, 40))
    x = graph.convolution(graph.convolution(source, NET.first, (1, 1)), NET.last, (2, 2))
    assert schedule({x: Box(10, 20, 14, 25)}, {source})[0].box == Box(7, 17, 17, 28)
    assert schedule({x: Box(0, 36, 4, 40)}, {source})[0].box == Box(0, 33, 7, 40)
