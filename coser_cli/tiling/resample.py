"""Resampling by boxes: each the same as if the whole map had been resampled at once.

Torch computes source coordinates in float32, which shows at large ones (at 20 000 a thousandth
of a pixel). The same roundings are repeated here, so that a box agrees with `F.interpolate` of the
whole map and not only with the mathematics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable
from coser_cli.tiling.grid import Box

Kernel = Literal["bicubic", "antialiased"]
"""`F.interpolate(mode="bicubic")` without and with `antialias`."""

_Floats = NDArray[np.float32]
_Indices = NDArray[np.int64]
_SHARP, _SOFT = -0.75, -0.5
"""The cubic's parameter: torch's own without antialiasing, Pillow's with it."""


class Resampler:
    """One axis of `in_size` samples resampled to `out_size`: every output's inputs and weights."""

    def __init__(self, in_size: int, out_size: int, kernel: Kernel) -> None:
        self.in_size = in_size
        self.out_size = out_size
        indices, weights = _KERNELS[kernel](in_size, out_size)
        self.indices: Tensor = torch.from_numpy(indices)
        """`(out_size, taps)`; an input may occur twice (at borders), or with weight 0."""
        self.weights: Tensor = torch.from_numpy(weights)
        """`(out_size, taps)` float32; they sum to 1."""

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """First and one past the last input that outputs `start` … `stop` - 1 are made of."""
        indices = self.indices[start:stop]
        return int(indices.min()), int(indices.max()) + 1

    def matrix(self, start: int, stop: int) -> Tensor:
        """Weights `(stop - start, hi - lo)` of the inputs `needed(start, stop)`."""
        low, high = self.needed(start, stop)
        matrix = torch.zeros(stop - start, high - low)
        places = self.indices[start:stop] - low
        return matrix.scatter_add_(1, places, self.weights[start:stop])


def resample_with(source: Readable, rows: Resampler, columns: Resampler, box: Box) -> Tensor:
    """What lies in `box` of `source` resampled along both axes; not clamped.

    `(1, C, box.height, box.width)` float32, on the CPU; only the window it is made of is read.
    """
    top, bottom = rows.needed(box.top, box.bottom)
    left, right = columns.needed(box.left, box.right)
    window = source.read(Box(top, left, bottom, right)).float()
    across = columns.matrix(box.left, box.right)
    down = rows.matrix(box.top, box.bottom)
    return down @ (window @ across.T)


def resample_whole(source: Readable, out_size: Size) -> Tensor:
    """A large map at a small size, bicubic without antialiasing, not clamped.

    `(1, C, *out_size.hw)` float32. Only the (at most four) rows that each row of the result is made
    of are read, one result row after the other.
    """
    channels, height, width = source.shape
    rows = Resampler(height, out_size.height, "bicubic")
    columns = Resampler(width, out_size.width, "bicubic")
    result = torch.empty(1, channels, *out_size.hw)
    for row in range(out_size.height):
        top, bottom = rows.needed(row, row + 1)
        window = source.read(Box(top, 0, bottom, width)).float()
        across = (window[..., columns.indices] * columns.weights).sum(dim=-1)
        result[..., row : row + 1, :] = rows.matrix(row, row + 1) @ across
    return result


def _bicubic(in_size: int, out_size: int) -> tuple[_Indices, _Floats]:
    """Four inputs each, those beyond the border taken from the border."""
    # float64 holds the product exactly: one rounding, as of torch's fused multiply-add
    scale = np.float64(np.float32(in_size) / np.float32(out_size))
    centres = (scale * (np.arange(out_size) + 0.5) - 0.5).astype(np.float32)
    first = np.floor(centres).astype(np.int64).clip(max=in_size - 1)
    offset = (centres - first.astype(np.float32)).clip(0, 1)
    rest = 1 - offset
    distances = np.stack([offset + 1, offset, rest, rest + 1], axis=1)
    indices = (first[:, None] + np.arange(-1, 3)).clip(0, in_size - 1)
    return indices, _cubic(distances, _SHARP)


def _antialiased(in_size: int, out_size: int) -> tuple[_Indices, _Floats]:
    """As many inputs as the kernel, stretched when shrinking, spans; rescaled at borders."""
    scale = np.float32(in_size) / np.float32(out_size)
    stretch = max(scale, np.float32(1))
    support = np.float64(2 * stretch)
    centres = (np.float64(scale) * (np.arange(out_size) + 0.5)).astype(np.float32)
    first = (centres - support + 0.5).astype(np.int64).clip(min=0)
    after = (centres + support + 0.5).astype(np.int64).clip(max=in_size)
    indices = first[:, None] + np.arange((after - first).max())
    distances = (indices.astype(np.float32) - centres[:, None]) + np.float64(0.5)
    weights = _cubic(np.abs(distances / stretch).astype(np.float32), _SOFT)
    weights[indices >= after[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return indices.clip(max=in_size - 1), weights


def _cubic(distances: _Floats, sharpness: float) -> _Floats:
    """Keys' cubic convolution kernel (1981) at distances >= 0; 0 from 2 on."""
    a, x = sharpness, distances
    near = _fused(_fused(a + 2, x, -(a + 3)) * x, x, 1)
    far = _fused(_fused(_fused(a, x, -5 * a), x, 8 * a), x, -4 * a)
    kernel: _Floats = np.where(x <= 1, near, np.where(x < 2, far, np.float32(0)))
    return kernel


def _fused(factor: _Floats | float, x: _Floats, summand: float) -> _Floats:
    """`factor` · x + summand, rounded to float32 once: what compilers make of it."""
    return (np.multiply(factor, x, dtype=np.float64) + summand).astype(np.float32)


_KERNELS: dict[Kernel, Callable[[int, int], tuple[_Indices, _Floats]]] = {
    "bicubic": _bicubic,
    "antialiased": _antialiased,
}
