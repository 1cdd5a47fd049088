"""A requested size instead of a scale: sides in pixels → the scale of each picture."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from coser_cli.errors import InputError, UsageError
from coser_cli.settings import MAX_SCALE, MIN_SCALE
from coser_cli.size import Size


@dataclass(frozen=True)
class Fit:
    """Sides of the result in pixels; the aspect is kept.

    With `width` or `height` that side is exact and the other follows, rounded. With both, the
    result is the largest that fits into the two, so at least one is exact. `max_side` is the longer
    side. Raises `UsageError` where they contradict.
    """

    width: int | None = None
    height: int | None = None
    max_side: int | None = None

    def __post_init__(self) -> None:
        sides = [side for side in (self.width, self.height, self.max_side) if side is not None]
        if not sides or min(sides) < 1:
            raise UsageError("the size of the result must be at least 1 pixel")
        if self.max_side is not None and len(sides) > 1:
            raise UsageError("--max-side goes with neither --width nor --height", "leave one out")

    @property
    def label(self) -> str:
        """The request in a file name: `800w`, `600h`, `800x600` or `max1000`."""
        if self.max_side is not None:
            return f"max{self.max_side}"
        if self.width is not None and self.height is not None:
            return f"{self.width}x{self.height}"
        return f"{self.width}w" if self.width is not None else f"{self.height}h"

    def scale(self, size: Size) -> float:
        """The scale that gives a picture of `size` the wanted size exactly.

        `round(side · scale)` is then exact for the side that binds: the product differs from the
        whole number by far less than a half. Raises `InputError` outside of what scales may be.
        """
        ratios = [Fraction(self.max_side, size.long_side)] if self.max_side is not None else []
        if self.width is not None:
            ratios.append(Fraction(self.width, size.width))
        if self.height is not None:
            ratios.append(Fraction(self.height, size.height))
        ratio = min(ratios)
        if not MIN_SCALE <= ratio <= MAX_SCALE:
            raise InputError(
                f"{size} pixels to {self._words()} is a scale of {float(ratio):.3g}",
                f"scales go from {MIN_SCALE:g} to {MAX_SCALE:g}",
            )
        return ratio.numerator / ratio.denominator

    def _words(self) -> str:
        if self.max_side is not None:
            return f"a longer side of {self.max_side}"
        if self.width is not None and self.height is not None:
            return f"{self.width}×{self.height}"
        return (
            f"a width of {self.width}" if self.width is not None else f"a height of {self.height}"
        )
