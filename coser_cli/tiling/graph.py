"""Networks as graphs of local steps, each of which knows the input that it needs for a box of its
result.

A step never pads. It names the cells that it needs, also beyond the edge of the map, where it gets
zeros: so a convolution is padded at the picture's own borders only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.tiling.canvas import Shape
from coser_cli.tiling.grid import Box
from coser_cli.tiling.statistics import Statistics


class Step(Protocol):
    """One step; all its inputs are maps of one size."""

    def need(self, box: Box) -> Box:
        """Input cells that the result in `box` depends on; may reach beyond the map."""
        ...

    def apply(self, inputs: Sequence[Tensor], box: Box) -> Tensor:
        """The result in `box`, of what lies in `need(box)` of each input."""
        ...


@dataclass(frozen=True, eq=False)
class Node:
    """A map `(C, H, W)` and the step that makes it. Nodes of a graph are numbered in order, inputs
    before results.
    """

    number: int
    shape: Shape
    step: Step
    inputs: tuple[Node, ...]


class Pointwise:
    """A function of the values of one place, of one or more maps."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def need(self, box: Box) -> Box:
        return box

    def apply(self, inputs: Sequence[Tensor], box: Box) -> Tensor:
        return self.function(*inputs)


class Source(Pointwise):
    """An input map."""

    def __init__(self) -> None:
        super().__init__(lambda: torch.empty(0))


class Concat(Pointwise):
    """Maps after one another, along their channels."""

    def __init__(self) -> None:
        super().__init__(lambda *maps: torch.cat(maps, dim=1))


class Convolution:
    """`module`, with `before` rows and columns of zeros above and left of the map."""

    def __init__(self, module: nn.Conv2d, before: int) -> None:
        self.module = module
        self.before = before

    def need(self, box: Box) -> Box:
        kernel, stride = self.module.kernel_size[0], self.module.stride[0]
        first, beyond = -self.before, kernel - stride - self.before
        return Box(
            box.top * stride + first,
            box.left * stride + first,
            box.bottom * stride + beyond,
            box.right * stride + beyond,
        )

    def apply(self, inputs: Sequence[Tensor], box: Box) -> Tensor:
        module = self.module
        return F.conv2d(inputs[0], module.weight, module.bias, module.stride)


class Enlarge:
    """A step that makes `factor` × `factor` cells of each one."""

    def __init__(self, function: Callable[[Tensor], Tensor], factor: int) -> None:
        self.function = function
        self.factor = factor

    def need(self, box: Box) -> Box:
        factor = self.factor
        return Box(
            box.top // factor, box.left // factor, -(-box.bottom // factor), -(-box.right // factor)
        )

    def apply(self, inputs: Sequence[Tensor], box: Box) -> Tensor:
        enlarged = self.need(box).scaled(self.factor)
        return box.relative_to(enlarged).crop(self.function(inputs[0]))


class Fold:
    """Pixel unshuffle: squares of `factor` × `factor` cells become channels."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def need(self, box: Box) -> Box:
        return box.scaled(self.factor)

    def apply(self, inputs: Sequence[Tensor], box: Box) -> Tensor:
        return F.pixel_unshuffle(inputs[0], self.factor)


class Normalise(Pointwise):
    """A group norm, and `after` it. By itself it takes the statistics of its box; it is exact
    `with_statistics` of the whole map.
    """

    def __init__(self, norm: nn.GroupNorm, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__(lambda x: after(norm(x)))
        self.norm = norm
        self.after = after

    def with_statistics(self, statistics: Statistics) -> Pointwise:
        """The same with these statistics."""
        norm = self.norm
        each = norm.num_channels // norm.num_groups
        inverse = (statistics.variance + norm.eps).rsqrt().repeat_interleave(each)
        scale = norm.weight.detach().cpu().double() * inverse
        mean = statistics.mean.repeat_interleave(each)
        shift = norm.bias.detach().cpu().double() - mean * scale

        def function(x: Tensor) -> Tensor:
            # half precision would round the shift, and with it the whole map
            values = x if x.dtype is torch.float64 else x.float()
            # number type first: not every device has float64
            factor, summand = (
                row.to(values.dtype).to(values.device)[:, None, None] for row in (scale, shift)
            )
            return self.after(torch.addcmul(summand, values, factor).to(x.dtype))

        return Pointwise(function)


class Whole(Pointwise):
    """A step in which every place depends on every other, such as attention: it needs the whole
    map, or windows of at most `limit` cells.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], limit: int) -> None:
        super().__init__(function)
        self.limit = limit


class Graph:
    """A network for maps of one size, built step by step.

    When it is cut into sweeps, maps of `kept` are stored rather than computed again.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.kept: set[Node] = set()

    def source(self, shape: Shape) -> Node:
        """An input map, given when the graph is run."""
        return self._add(shape, Source())

    def pointwise(
        self, function: Callable[..., Tensor], *inputs: Node, channels: int | None = None
    ) -> Node:
        """`function` of the maps; `channels` of the result, if not those of the first."""
        shape = inputs[0].shape
        return self._add((channels or shape[0], *shape[1:]), Pointwise(function), *inputs)

    def concat(self, *inputs: Node) -> Node:
        """All channels of all maps."""
        channels = sum(node.shape[0] for node in inputs)
        return self._add((channels, *inputs[0].shape[1:]), Concat(), *inputs)

    def convolution(self, x: Node, module: nn.Conv2d, padding: tuple[int, int]) -> Node:
        """`padding`: rows of zeros before and after the map, in both directions."""
        kernel, stride = module.kernel_size[0], module.stride[0]
        height, width = ((side + sum(padding) - kernel) // stride + 1 for side in x.shape[1:])
        return self._add((module.out_channels, height, width), Convolution(module, padding[0]), x)

    def normalise(self, x: Node, norm: nn.GroupNorm, after: Callable[[Tensor], Tensor]) -> Node:
        """Group norm over the whole map, then `after`, which is pointwise and may work in place."""
        return self._add(x.shape, Normalise(norm, after), x)

    def whole(self, x: Node, function: Callable[[Tensor], Tensor], limit: int) -> Node:
        """`function` of the whole map, which keeps its shape."""
        return self._add(x.shape, Whole(function, limit), x)

    def double(self, x: Node) -> Node:
        """Every cell twice in both directions: nearest-neighbour enlargement."""
        channels, height, width = x.shape
        step = Enlarge(lambda maps: F.interpolate(maps, scale_factor=2.0, mode="nearest"), 2)
        return self._add((channels, 2 * height, 2 * width), step, x)

    def fold(self, x: Node, factor: int) -> Node:
        """Pixel unshuffle."""
        channels, height, width = x.shape
        shape = channels * factor**2, height // factor, width // factor
        return self._add(shape, Fold(factor), x)

    def unfold(self, x: Node, factor: int) -> Node:
        """Pixel shuffle."""
        channels, height, width = x.shape
        step = Enlarge(lambda maps: F.pixel_shuffle(maps, factor), factor)
        return self._add((channels // factor**2, height * factor, width * factor), step, x)

    def _add(self, shape: Shape, step: Step, *inputs: Node) -> Node:
        node = Node(len(self.nodes), shape, step, inputs)
        self.nodes.append(node)
        return node
