"""The rate of a large matrix product: what the device can reach at all, in the same number type."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from coser_cli.bench.clock import time_of

FIRST_SIDE, LAST_SIDE = 512, 16384
REPEAT = 5
LONG = 0.1
"""Seconds of a product from which on a larger one shows nothing new, and only takes longer."""


@dataclass(frozen=True)
class Ceiling:
    """The best rate in FLOP/s (a multiplication and an addition are two), and the side of the
    square matrices that reached it."""

    rate: float
    side: int

    @property
    def seconds(self) -> float:
        return 2 * self.side**3 / self.rate


def measure_ceiling(
    device: torch.device, dtype: torch.dtype, first: int = FIRST_SIDE, last: int = LAST_SIDE
) -> Ceiling:
    """The fastest product of square matrices, each the best of `REPEAT` calls; their sides are
    doubled, from `first` to `last` at most, as long as that is faster and takes less than `LONG`.
    """
    best = _rate(device, dtype, first)
    while best.side < last and best.seconds < LONG:
        larger = _rate(device, dtype, 2 * best.side)
        if larger.rate <= best.rate:
            break
        best = larger
    return best


def _rate(device: torch.device, dtype: torch.dtype, side: int) -> Ceiling:
    left, right, out = torch.randn(3, side, side, device=device, dtype=dtype)
    timing = time_of(lambda: torch.mm(left, right, out=out), device, REPEAT, warmup=2)
    return Ceiling(2 * side**3 / timing.least, side)
