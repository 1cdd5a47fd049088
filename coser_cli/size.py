"""Sizes of pictures, maps and weights as plain numbers: no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LONGEST = 3
"""The long side of a picture that is enlarged to a least size has at most this many least sizes, so
that narrow strips stay small.
"""


class Works(Protocol):
    """A model's configuration, as far as `size_to_work_at` needs it."""

    @property
    def working_size(self) -> int: ...
    @property
    def working_scale(self) -> float: ...


class Shaped(Protocol):
    """A tensor or a map, whose shape ends with height and width."""

    @property
    def shape(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Size:
    """Height and width of a picture in pixels, or of a map in its cells.

    Every size in this program is one of these. Tuples exist only where another library or a file
    takes them: in torch's order (`hw`) or in Pillow's (`wh`).
    """

    height: int
    width: int

    @classmethod
    def of(cls, maps: Shaped) -> Size:
        """Size of maps `(..., H, W)`."""
        height, width = maps.shape[-2:]
        return cls(height, width)

    @classmethod
    def of_wh(cls, sides: tuple[int, int]) -> Size:
        """That of (width, height), as Pillow has it."""
        width, height = sides
        return cls(height, width)

    @property
    def hw(self) -> tuple[int, int]:
        """(height, width), as torch has it."""
        return self.height, self.width

    @property
    def wh(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width, self.height

    @property
    def area(self) -> int:
        """Pixels, or cells."""
        return self.height * self.width

    @property
    def long_side(self) -> int:
        return max(self.height, self.width)

    @property
    def short_side(self) -> int:
        return min(self.height, self.width)

    def scaled(self, factor: float) -> Size:
        """Each side times `factor`, rounded, at least 1."""
        return Size(max(1, round(self.height * factor)), max(1, round(self.width * factor)))

    def within(self, side: int) -> Size:
        """Reduced until the long side is `side`, if it is more; no side vanishes."""
        return self.scaled(min(1.0, side / self.long_side))

    def has_shape_of(self, other: Size, tolerance: float) -> bool:
        """Whether the aspect ratios differ by no more than a share of `tolerance`."""
        ratio = self.width * other.height / (self.height * other.width)
        return abs(ratio - 1) <= tolerance

    @property
    def turned(self) -> Size:
        """Width and height exchanged."""
        return Size(self.width, self.height)

    def padded(self, multiple: int) -> Size:
        """Each side filled up to a multiple of `multiple`."""
        return Size(self.height + -self.height % multiple, self.width + -self.width % multiple)

    def __floordiv__(self, divisor: int) -> Size:
        return Size(self.height // divisor, self.width // divisor)

    def __str__(self) -> str:
        """Width × height."""
        return f"{self.width}×{self.height}"


def srresnet_passes(scale: float, each: int = 4) -> int:
    """Passes of the SRResNet, or of another network that enlarges `each` times, for an enlargement
    by `scale`; at least one.
    """
    return max(1, math.ceil(math.log(scale / math.sqrt(2), each)))


def working_size(target: Size, least: int) -> Size:
    """Size to work at for a result of size `target`: itself, or enlarged until the short side is
    `least` or the long one `LONGEST` times that.
    """
    factor = min(least / target.short_side, LONGEST * least / target.long_side)
    return target if factor <= 1 else target.scaled(factor)


def size_to_work_at(model: Works, size: Size, scale: float) -> Size:
    """Size at which a model works to enlarge a picture of `size` by `scale`: that of the result, or
    larger, where the short side or the enlargement is less than what the model is made for.
    """
    work = working_size(size.scaled(scale), model.working_size)
    if scale >= model.working_scale:
        return work
    return max(work, size.scaled(model.working_scale), key=lambda each: each.area)


def working_scale(target: Size, work: Size, scale: float) -> float:
    """The scale from the input to the size to work at, where `scale` leads to `target`."""
    return scale * max(work.height / target.height, work.width / target.width)


@dataclass(frozen=True)
class PartSize:
    """Bytes of a part's weights, and of its largest tensor."""

    total: int
    largest: int
