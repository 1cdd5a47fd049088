"""Square patches of LR/HR pairs, all of one size, so that they can be computed as batches.

Of each picture the patch with the most detail is taken: there samplers differ, and a flat sky says
nothing. It is found in the LR picture alone, and always the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.errors import InputError, shown
from coser_cli.evaluation.color import greatest_square, luma
from coser_cli.evaluation.pairs import Picture, find_set, read_pixels


@dataclass(frozen=True)
class Crops:
    """LR patches `(B, 3, S, S)` and their HR `(B, 3, S·scale, S·scale)` in [0, 1], with names."""

    names: tuple[str, ...]
    low: Tensor
    high: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """SHA-256 of all pixels at 8 bits, as hexadecimal digits."""
        total = hashlib.sha256()
        for pixels in (self.low, self.high):
            total.update(str(tuple(pixels.shape)).encode())
            total.update((pixels * 255).round().byte().numpy().tobytes())
        return total.hexdigest()


def read_crops(folders: Sequence[Path], side: int, scale: int, count: int | None = None) -> Crops:
    """A patch with `side` LR pixels of `count` pictures of each set, evenly spaced by name; of all
    without a count.

    Raises `UsageError` for a set without pairs, `InputError` for a picture that is smaller than a
    patch.
    """
    names, lows, highs = [], [], []
    for folder in folders:
        for picture in _evenly(find_set(folder).pictures, count):
            assert picture.reference is not None
            low, high = _cut(picture, side, scale)
            names.append(f"{folder.name}/{picture.reference.name}")
            lows.append(low)
            highs.append(high)
    return Crops(tuple(names), torch.cat(lows), torch.cat(highs))


def most_detailed(pixels: Tensor, side: int) -> tuple[int, int]:
    """Top and left of the square with the greatest mean absolute gradient of luma, of pixels
    `(1, 3, H, W)`; the first one, row by row, where several are alike.
    """
    grey = luma(pixels)
    across, down = grey.diff(dim=3).abs(), grey.diff(dim=2).abs()
    detail = F.pad(across, (0, 1)) + F.pad(down, (0, 0, 0, 1))
    return greatest_square(detail, side)


def _evenly(pictures: Sequence[Picture], count: int | None) -> Sequence[Picture]:
    if count is None or count >= len(pictures):
        return pictures
    return [pictures[index * len(pictures) // count] for index in range(count)]


def _cut(picture: Picture, side: int, scale: int) -> tuple[Tensor, Tensor]:
    assert picture.reference is not None and picture.source is not None
    high, low = read_pixels(picture.reference), read_pixels(picture.source)
    # LR sides may be rounded up: what HR lacks is no part of a patch
    height, width = (
        min(small, large // scale)
        for small, large in zip(low.shape[-2:], high.shape[-2:], strict=True)
    )
    if min(height, width) < side:
        raise InputError(
            f"{shown(picture.source)}: {width}×{height} pixels are less than a patch of"
            f" {side}×{side}",
            "give a smaller --crop",
        )
    low = low[..., :height, :width]
    top, left = most_detailed(low, side)
    bottom, right = top + side, left + side
    large = high[..., top * scale : bottom * scale, left * scale : right * scale]
    return low[..., top:bottom, left:right], large
