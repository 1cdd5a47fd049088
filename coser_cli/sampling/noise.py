"""Seeded noise: one endless field, the same on every device and for every way to cut it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from coser_cli.sampling.types import Draw, Noise

_NOISE_BLOCK = 32, 64
"""Rows and columns of latents whose noise is drawn at once; tiles' bands of rows are as high."""


def noise_rows(seed: int, stream: str, step: int, channels: int, rows: range, width: int) -> Tensor:
    """Rows of one endless field of white float32 noise, `(1, channels, len(rows), width)`.

    A value depends on (seed, stream, step) and on its channel, row and column alone, not on the
    size of the latents, on what else was drawn, or on the device. Noise is drawn in blocks, each
    with a counter of its own, as creating generators takes most of the time.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    key = [int.from_bytes(digest[i : i + 8], "big") for i in (0, 8)]
    drawn = np.empty((1, channels, len(rows), width), np.float32)
    height, columns = _NOISE_BLOCK
    tops = range(rows.start - rows.start % height, rows.stop, height)
    for channel, top, left in product(range(channels), tops, range(0, width, columns)):
        counter = np.random.Philox(key=key, counter=[0, top // height, channel, left // columns])
        block = np.random.Generator(counter).standard_normal(_NOISE_BLOCK, np.float32)
        overlap = range(max(top, rows.start), min(top + height, rows.stop))
        right = min(left + columns, width)
        drawn[0, channel, overlap.start - rows.start : overlap.stop - rows.start, left:right] = (
            block[overlap.start - top : overlap.stop - top, : right - left]
        )
    return torch.from_numpy(drawn)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of host memory on `device`, without waiting for what runs there."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def seeded_noise(seed: int, shape: Sequence[int]) -> Draw:
    """`noise_rows` for whole latents `(B, C, h, w)`; the pictures of a batch see the same noise, as
    each would alone.
    """
    batch, channels, height, width = shape

    def draw(stream: str, step: int) -> Tensor:
        rows = noise_rows(seed, stream, step, channels, range(height), width)
        return rows.expand(batch, -1, -1, -1)

    return draw


class NoiseSource(TorchFunctionMode):
    """Replaces `torch.randn`, from which all schedulers draw, by the noise of this step.

    Schedulers differ in how noise can be passed in, and most have no way.
    """

    def __init__(self, noise: Noise, step: int) -> None:
        super().__init__()
        self.noise, self.step = noise, step
        self.drawn = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.randn:
            return func(*args, **kwargs)
        self.drawn = True
        return to_device(self.noise(self.step), kwargs["device"]).to(kwargs.get("dtype"))
