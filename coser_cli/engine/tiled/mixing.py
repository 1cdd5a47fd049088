"""Two maps mixed box by box, when they are read."""

from __future__ import annotations

import torch
from torch import Tensor

from coser_cli.tiling.canvas import Readable, Shape
from coser_cli.tiling.grid import Box


class Mixed:
    """A map `(C, H, W)`: (1 − weight)·first + weight·second, made where it is read.

    `first` and `second` are read in the same box; the shape is that of the first.
    """

    def __init__(self, first: Readable, second: Readable, weight: float) -> None:
        self.first = first
        self.second = second
        self.weight = weight

    @property
    def shape(self) -> Shape:
        return self.first.shape

    def read(self, box: Box) -> Tensor:
        """The mixture in a box, `(1, C, box.height, box.width)`."""
        return torch.lerp(self.first.read(box), self.second.read(box), self.weight)
