"""Maps computed from other maps when they are read, box by box: combined, reduced."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable, Shape
from coser_cli.tiling.grid import Box
from coser_cli.tiling.resample import Resampler, resample_with


class Combined:
    """A map `(C, H, W)` that is a function of what other maps have at the same place, computed when
    it is read. The shape is that of the first.
    """

    def __init__(self, function: Callable[..., Tensor], *maps: Readable) -> None:
        self.maps = maps
        self.function = function

    @property
    def shape(self) -> Shape:
        return self.maps[0].shape

    def read(self, box: Box) -> Tensor:
        """The result in a box, `(1, C, box.height, box.width)`."""
        return self.function(*(each.read(box) for each in self.maps))


class Reduced:
    """A map `(C, H, W)` in [0, 1] at another size: bicubic, antialiased, clamped."""

    def __init__(self, source: Readable, size: Size) -> None:
        channels, height, width = source.shape
        self.shape: Shape = (channels, *size.hw)
        self._source = source
        self._rows = Resampler(height, size.height, "antialiased")
        self._columns = Resampler(width, size.width, "antialiased")

    def read(self, box: Box) -> Tensor:
        """The result in a box, `(1, C, box.height, box.width)` float32."""
        return resample_with(self._source, self._rows, self._columns, box).clamp(0, 1)


def reduced(source: Readable, size: Size) -> Readable:
    """The map at `size`, itself where it has that."""
    return source if Size.of(source) == size else Reduced(source, size)
