"""What several measures take of pictures: luma, grey levels, and the square with the most of it."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def luma(pixels: Tensor) -> Tensor:
    """`(B, 3, H, W)` RGB in [0, 1] → `(B, 1, H, W)` float64 BT.601 luma in [16, 235] / 255."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    return torch.einsum("bchw,c->bhw", pixels.double(), weights)[:, None] + 16 / 255


def levels(pixels: Tensor) -> NDArray[Any]:
    """`(3, H, W)` in [0, 1] → `(H, W, 3)` grey levels of 8 bits."""
    return (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def greatest_square(values: Tensor, side: int) -> tuple[int, int]:
    """Top and left of the square with the greatest mean of values `(1, 1, H, W)`; the first one,
    row by row, where several are alike. It is smaller than `side` where a side of the picture is.
    """
    height, width = values.shape[-2:]
    means = F.avg_pool2d(values, (min(side, height), min(side, width)), stride=1)
    top, left = divmod(int(means.flatten().argmax()), means.shape[-1])
    return top, left
