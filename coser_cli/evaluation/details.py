"""Where results differ most, as details to look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from coser_cli.evaluation.color import greatest_square, levels, luma

SIDE = 192


def most_different(pictures: Sequence[Tensor], side: int = SIDE) -> tuple[int, int]:
    """Top and left of the square in which pictures `(1, 3, H, W)` of one size differ most among
    each other: greatest mean variance of luma.
    """
    grey = torch.cat([luma(each) for each in pictures])
    variance = grey.var(dim=0, unbiased=False, keepdim=True)
    return greatest_square(variance, side)


def details(pictures: Sequence[Tensor], results: int, side: int = SIDE) -> list[Image.Image]:
    """The same square of every picture: where the first `results` of them differ most."""
    height, width = (min(each.shape[i] for each in pictures) for i in (-2, -1))
    equal = [each[..., :height, :width] for each in pictures]
    top, left = most_different(equal[:results], side)
    cut = [each[0, :, top : top + side, left : left + side] for each in equal]
    return [Image.fromarray(levels(each)) for each in cut]
