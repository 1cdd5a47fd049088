"""The order in which a graph is swept over a picture, the maps on disk meanwhile, and the cost.

A group norm needs the statistics of its whole input before anything after it can be computed. So
the graph is cut before its norms: a stage computes the input of the next norm tile by tile, stores
it and gathers its statistics; the next stage starts from what is stored. A graph without norms is a
single stage and stores nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from coser_cli.size import Size
from coser_cli.tiling.graph import Concat, Graph, Node, Normalise, Source, Whole
from coser_cli.tiling.grid import Box, Grid, cores, make_grid

WHOLE_COPIES = 7
"""Maps that attention holds at once: input, tokens, queries, keys, values, result."""
OVERHEAD = 2.0
"""Peak memory over the tensors counted here; 1.2 to 2.1 were measured on a CPU, where convolutions
reorder what they read and write.
"""


@dataclass(frozen=True)
class Stage:
    """One sweep. `targets` are computed on every tile's core; of these `stored` are written to
    maps, and `measured` get statistics. `reads`: stored maps that it starts from; `frees`: maps not
    used after it. `side`: of a core, in cells of the coarsest map.
    """

    targets: tuple[Node, ...]
    stored: tuple[Node, ...]
    measured: tuple[Normalise, ...]
    reads: frozenset[Node]
    frees: tuple[Node, ...] = ()
    side: int = 1

    @property
    def whole(self) -> Node | None:
        """The step on a whole map that this stage is, if it is one."""
        node = self.targets[0]
        return node if isinstance(node.step, Whole) and node in self.stored else None


@dataclass(frozen=True)
class Work:
    """Compute `node` in `box` for one tile; `done`: nodes not used after it."""

    node: Node
    box: Box
    done: tuple[Node, ...]


@dataclass(frozen=True)
class Plan:
    """`output` of a graph, tile by tile.

    `cells`: size of the coarsest map, of which all others are multiples; `side`: of a tile, in the
    same cells.
    """

    graph: Graph
    output: Node
    cells: Size
    side: int
    dtype: torch.dtype = torch.float32
    stages: tuple[Stage, ...] = field(init=False)

    def __post_init__(self) -> None:
        cut = _with_frees(list(_cut(self.graph, self.output)))
        stages = [replace(stage, side=self.side) for stage in cut]
        budget = max(self._stage_bytes(stage) for stage in stages)
        grown = [self._grown(stage, budget) for stage in stages[:-1]]
        object.__setattr__(self, "stages", (*grown, stages[-1]))

    def factor(self, node: Node) -> int:
        """How many cells of the node's map lie along one cell of the coarsest."""
        return node.shape[1] // self.cells.height

    def tiles(self, stage: Stage) -> list[Box]:
        """The tiles of a stage, row by row: cores in cells of the coarsest map, or windows of a
        step on the whole map in cells of that map.
        """
        if stage.whole is None:
            return cores(self.cells, stage.side)
        return windows(stage.whole).boxes()

    @cached_property
    def tile_count(self) -> int:
        """Tiles of all stages together."""
        return sum(len(self.tiles(stage)) for stage in self.stages)

    @property
    def windowed(self) -> list[Node]:
        """Steps on whole maps that are too large for it, and done in windows: not exact."""
        nodes = [stage.whole for stage in self.stages if stage.whole is not None]
        return [node for node in nodes if len(windows(node)) > 1]

    @cached_property
    def scratch_bytes(self) -> int:
        """Most that the stored maps take at one time."""
        most = held = 0
        for stage in self.stages:
            held += sum(self.stored_bytes(node) for node in stage.stored)
            most = max(most, held)
            held -= sum(self.stored_bytes(n) for n in stage.frees if not _is_source(n))
        return most

    @cached_property
    def memory_bytes(self) -> int:
        """Estimated peak of the tensors of one tile, weights not counted."""
        return int(OVERHEAD * max(self._stage_bytes(stage) for stage in self.stages))

    def stored_dtype(self, node: Node) -> torch.dtype:
        """The dtype of the computation, so that storing rounds nothing; at least float32 for sums
        over windows.
        """
        if isinstance(node.step, Whole) and self.dtype.itemsize < torch.float32.itemsize:
            return torch.float32
        return self.dtype

    def stored_bytes(self, node: Node) -> int:
        """Size of a node's whole map."""
        return math.prod(node.shape) * self.stored_dtype(node).itemsize

    def _grown(self, stage: Stage, budget: int) -> Stage:
        """With the largest tiles that need no more than `budget`: coarse maps are small."""
        while stage.side < self.cells.long_side:
            larger = replace(stage, side=2 * stage.side)
            if self._stage_bytes(larger) > budget:
                break
            stage = larger
        return stage

    def _stage_bytes(self, stage: Stage) -> int:
        centre = _middle(self.tiles(stage))
        if stage.whole is not None:
            node = stage.whole
            values = node.shape[0] * centre.size.area
            wanted: Mapping[Node, Box] = {node.inputs[0]: centre}
            return max(values * WHOLE_COPIES * self.dtype.itemsize, self._tile_bytes(wanted, stage))
        wanted = {node: centre.scaled(self.factor(node)) for node in stage.targets}
        return self._tile_bytes(wanted, stage)

    def _tile_bytes(self, wanted: Mapping[Node, Box], stage: Stage) -> int:
        """Live tensors, and a copy of what a step takes (padding, order of channels)."""
        live: dict[Node, int] = {}
        most = 0
        for work in schedule(wanted, stage.reads):
            live[work.node] = work.node.shape[0] * work.box.size.area
            inputs = () if work.node in stage.reads else work.node.inputs
            most = max(most, sum(live.values()) + sum(live[node] for node in inputs))
            for node in work.done:
                del live[node]
        return most * self.dtype.itemsize


def _middle(tiles: Sequence[Box]) -> Box:
    """The tile nearest to the centre: it has its halo on all sides."""
    height, width = tiles[-1].bottom, tiles[-1].right
    return min(
        tiles,
        key=lambda box: abs(box.top + box.bottom - height) + abs(box.left + box.right - width),
    )


def windows(node: Node) -> Grid:
    """The whole map of a `Whole` step, or overlapping squares of it within the step's limit."""
    assert isinstance(node.step, Whole)
    size = Size.of(node)
    if size.area <= node.step.limit:
        return Grid(size, size.long_side, (0,), (0,))
    side = max(1, math.isqrt(node.step.limit))
    return make_grid(size, side, max(1, side * 3 // 4))


def schedule(wanted: Mapping[Node, Box], known: Collection[Node]) -> list[Work]:
    """What to compute, in order, for the wanted boxes when the maps `known` can be read."""
    need = dict(wanted)
    last: dict[Node, Node] = {}
    order: list[Node] = []
    waiting = set(wanted)
    while waiting:
        node = max(waiting, key=lambda node: node.number)
        waiting.remove(node)
        order.append(node)
        if node in known:
            continue
        for source in node.inputs:
            box = node.step.need(need[node]).inside(Size.of(source))
            need[source] = box.around(need[source]) if source in need else box
            last.setdefault(source, node)
            waiting.add(source)
    done: dict[Node, list[Node]] = {}
    for source, user in last.items():
        if source not in wanted:
            done.setdefault(user, []).append(source)
    return [Work(node, need[node], tuple(done.get(node, ()))) for node in reversed(order)]


def ancestors(node: Node, known: Collection[Node]) -> set[Node]:
    """The node and all that it depends on, back to the `known` ones, which are included."""
    nodes: set[Node] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node not in nodes:
            nodes.add(node)
            waiting += [] if node in known else node.inputs
    return nodes


def _cut(graph: Graph, output: Node) -> Iterator[Stage]:
    """Stages in order; `stored` holds all maps that may be worth storing."""
    live = ancestors(output, ())
    known = {node for node in live if _is_source(node)}
    measured: set[Node] = set()
    for node in graph.nodes:
        if node not in live:
            continue
        if isinstance(node.step, Whole):
            reads = ancestors(node.inputs[0], known) & known
            yield Stage((node,), (node,), (), frozenset(reads))
            known.add(node)
        elif isinstance(node.step, Normalise) and node.inputs[0] not in measured:
            normed = node.inputs[0]
            measured.add(normed)
            norms = [other.step for other in graph.nodes if other.inputs == (normed,)]
            needed = ancestors(normed, known)
            # stored are the parts of a concatenation, which others will ask for, too
            worth = normed.inputs if isinstance(normed.step, Concat) else (normed,)
            stored = {*worth, *(needed & graph.kept)} - known
            ordered = tuple(sorted(stored, key=lambda node: node.number))
            yield Stage(
                (normed, *(part for part in ordered if part is not normed)),
                ordered,
                tuple(step for step in norms if isinstance(step, Normalise)),
                frozenset(needed & known),
            )
            known |= stored
    yield Stage((output,), (), (), frozenset(ancestors(output, known) & known))


def _with_frees(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Leave out maps that no stage reads, and set after which stage each can be freed."""
    last = {node: number for number, stage in enumerate(stages) for node in stage.reads}
    result = []
    for number, stage in enumerate(stages):
        stored = tuple(node for node in stage.stored if node in last)
        targets = tuple(n for n in stage.targets if n in stored or n is stage.targets[0])
        frees = tuple(node for node, use in last.items() if use == number)
        result.append(replace(stage, targets=targets, stored=stored, frees=frees))
    return tuple(result)


def _is_source(node: Node) -> bool:
    return isinstance(node.step, Source)
