"""Runs a plan: tile by tile from the given maps, over maps on disk, to the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.size import Size
from coser_cli.tiling.blend import Blend
from coser_cli.tiling.canvas import Canvas, Readable, Scratch
from coser_cli.tiling.graph import Node, Normalise, Step, Whole
from coser_cli.tiling.grid import Box
from coser_cli.tiling.plan import Plan, Stage, Work, schedule, windows
from coser_cli.tiling.statistics import Statistics

Write = Callable[[Box, Tensor], None]
"""Takes a box and its values `(1, C, box.height, box.width)`; `Map.write` is one."""
OnTile = Callable[[int, int], None]
"""(tiles done, tiles in all)."""


class Sweep:
    """One run of a plan; `sources` are the maps of the graph's sources."""

    def __init__(
        self,
        plan: Plan,
        sources: Mapping[Node, Readable],
        scratch: Scratch,
        device: torch.device,
        on_tile: OnTile | None = None,
    ) -> None:
        self.plan = plan
        self.scratch = scratch
        self.device = device
        self._maps: dict[Node, Readable] = dict(sources)
        self._canvases: dict[Node, Canvas] = {}
        self._norms: dict[Normalise, Step] = {}
        self._on_tile = on_tile
        self._done = 0

    @torch.no_grad()
    def run(self, write: Write) -> None:
        """Give the result to `write`, once for every core, in row order: on the CPU, float32 (or
        float64 if the plan is).
        """
        with ExitStack() as stack:
            for stage in self.plan.stages:
                for node in stage.stored:
                    canvas = self.scratch.canvas(node.shape, self.plan.stored_dtype(node))
                    stack.callback(canvas.close)
                    self._maps[node] = self._canvases[node] = canvas
                if stage.whole is not None:
                    self._run_whole(stage.whole, stage)
                else:
                    self._run_tiles(stage, write)
                for node in stage.frees:
                    del self._maps[node]
                    if node in self._canvases:
                        self._canvases.pop(node).close()

    def _run_tiles(self, stage: Stage, write: Write) -> None:
        first = stage.targets[0]
        measured: dict[Normalise, Statistics] = {}
        for core in self.plan.tiles(stage):
            wanted = {node: core.scaled(self.plan.factor(node)) for node in stage.targets}
            values = self._evaluate(wanted, stage)
            for node in stage.stored:
                self._canvases[node].write(wanted[node], values[node])
            for step in stage.measured:
                new = Statistics.of(values[first], step.norm.num_groups)
                measured[step] = measured[step] + new if step in measured else new
            if first is self.plan.output:
                write(wanted[first], _wide(values[first]).cpu())
            self._count_tile()
        self._norms |= {
            step: step.with_statistics(statistics) for step, statistics in measured.items()
        }

    def _run_whole(self, node: Node, stage: Stage) -> None:
        """Windows are averaged under a Gaussian, as the sampler's tiles are."""
        assert isinstance(node.step, Whole)
        grid, target, first = windows(node), self._canvases[node], 0
        blend = Blend(grid)
        for window in grid.boxes():
            values = self._evaluate({node.inputs[0]: window}, stage)[node.inputs[0]]
            blend.add(window, node.step.function(values).cpu())
            settled = grid.settled(window)
            if settled > first:
                target.write(Box(first, 0, settled, grid.size.width), blend.take(settled))
                first = settled
            self._count_tile()

    def _evaluate(self, wanted: Mapping[Node, Box], stage: Stage) -> dict[Node, Tensor]:
        values: dict[Node, tuple[Box, Tensor]] = {}
        for work in schedule(wanted, stage.reads):
            values[work.node] = work.box, self._compute(work, values, stage)
            for node in work.done:
                del values[node]
        return {node: _cut(box, *values[node]) for node, box in wanted.items()}

    def _compute(
        self, work: Work, values: Mapping[Node, tuple[Box, Tensor]], stage: Stage
    ) -> Tensor:
        node, box = work.node, work.box
        if node in stage.reads:
            return self._maps[node].read(box).to(self.device, self.plan.dtype)
        step = node.step
        if isinstance(step, Normalise):
            step = self._norms.get(step, step)
        need = step.need(box)
        inputs = [_padded(need, Size.of(source), *values[source]) for source in node.inputs]
        return step.apply(inputs, box)

    def _count_tile(self) -> None:
        self._done += 1
        if self._on_tile is not None:
            self._on_tile(self._done, self.plan.tile_count)


def _cut(box: Box, held: Box, values: Tensor) -> Tensor:
    """What lies in `box`, of values that fill the box `held`."""
    return box.relative_to(held).crop(values)


def _padded(need: Box, size: Size, held: Box, values: Tensor) -> Tensor:
    """What lies in `need`, zero outside the map, of values that fill the box `held`."""
    inside = need.inside(size)
    cut = _cut(inside, held, values)
    if inside == need:
        return cut
    columns = inside.left - need.left, need.right - inside.right
    rows = inside.top - need.top, need.bottom - inside.bottom
    return F.pad(cut, (*columns, *rows))


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype is torch.float64 else values.float()
