"""Halo: how far a result overshoots beside strong edges, where the true picture does not."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from coser_cli.evaluation.color import luma

BESIDE = 4
"""How many pixels beside an edge are looked at."""
RANGE = 5
"""From how far a pixel's true range is taken: across the edge that it lies beside."""
STRONG = 0.2
"""Least difference of luma, of [0, 1], across two pixels of the true picture."""


def halo(output: Tensor, target: Tensor) -> float:
    """Mean overshoot within 4 pixels of the true picture's strong edges, in percent of the edges'
    contrast; both `(1, 3, H, W)` in [0, 1]. 0 is none, and what a picture without edges has.

    Overshoot of a pixel is how far it lies outside of the range that the true picture has within
    5 pixels; contrast is the extent of that range. So the true picture itself has none, and a blur
    has none either. Everything on luma.
    """
    result, true = luma(output), luma(target)
    beside = _greatest(_strong_edges(true), BESIDE) > 0
    if not beside.any():
        return 0.0
    high, low = _greatest(true, RANGE), -_greatest(-true, RANGE)
    over = (result - high).clamp_min(0) + (low - result).clamp_min(0)
    return float((over[beside] / (high - low)[beside]).mean()) * 100


def _greatest(grey: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(grey, 2 * radius + 1, stride=1, padding=radius)


def _strong_edges(grey: Tensor) -> Tensor:
    """`(1, 1, H, W)` → the same, 1 where luma changes strongly across two pixels, else 0."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]).abs()
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]).abs()
    return (across.maximum(down) >= STRONG).to(grey.dtype)
