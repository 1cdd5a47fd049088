"""The rate of a large matrix product: what the device can reach at all, in the same number type."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from coser_cli.bench.clock import time_of

CPU_SIDES = (512, 1024, 2048)
ACCELERATOR_SIDES = (2048, 4096, 8192)
REPEAT = 5


@dataclass(frozen=True)
class Ceiling:
    """The best rate in FLOP/s (a multiplication and an addition are two), and the side of the
    square matrices that reached it."""

    rate: float
    side: int


def measure_ceiling(
    device: torch.device, dtype: torch.dtype, sides: tuple[int, ...] | None = None
) -> Ceiling:
    """The fastest of a few products of square matrices, each the best of `REPEAT` calls."""
    sides = sides or (CPU_SIDES if device.type == "cpu" else ACCELERATOR_SIDES)
    return max((_rate(device, dtype, side) for side in sides), key=lambda each: each.rate)


def _rate(device: torch.device, dtype: torch.dtype, side: int) -> Ceiling:
    left, right, out = torch.randn(3, side, side, device=device, dtype=dtype)
    timing = time_of(lambda: torch.mm(left, right, out=out), device, REPEAT, warmup=2)
    return Ceiling(2 * side**3 / timing.least, side)
