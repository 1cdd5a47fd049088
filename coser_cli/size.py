"""Sizes of pictures as plain numbers: no torch."""

from __future__ import annotations

import math

LONGEST = 3
"""Least sizes to work at, of which the long side of a picture that is made larger has at most so
many: a strip is not to grow without end."""


def target_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width of the result: each side times `scale`, rounded, at least 1."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def srresnet_passes(scale: float, each: int = 4) -> int:
    """How often the SRResNet, or another network that enlarges `each` times, runs for an
    enlargement by `scale`; at least once."""
    return max(1, math.ceil(math.log(scale / math.sqrt(2), each)))


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Height and width filled up to multiples of `multiple`."""
    height, width = (side + -side % multiple for side in size)
    return height, width


def working_size(target: tuple[int, int], least: int) -> tuple[int, int]:
    """Height and width to work at for a result of `target` (height, width): itself, or enlarged
    until the short side is `least` or the long one `LONGEST` times that.
    """
    factor = min(least / min(target), LONGEST * least / max(target))
    if factor <= 1:
        return target
    height, width = (max(1, round(side * factor)) for side in target)
    return height, width


def working_scale(target: tuple[int, int], work: tuple[int, int], scale: float) -> float:
    """The scale from the input to the size to work at, where `scale` leads to `target`."""
    return scale * max(wide / side for wide, side in zip(work, target, strict=True))
