"""Sizes of pictures as plain numbers: no torch."""

from __future__ import annotations

import math


def target_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width of the result: each side times `scale`, rounded, at least 1."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def srresnet_passes(scale: float) -> int:
    """How often the SRResNet (×4) runs for an enlargement by `scale`; at least once."""
    return max(1, math.ceil(math.log(scale / math.sqrt(2), 4)))


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Height and width filled up to multiples of `multiple`."""
    height, width = (side + -side % multiple for side in size)
    return height, width
