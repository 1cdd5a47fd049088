"""Give the result the colours of the enlarged input: AdaIN or wavelet, after StableSR.

Both were defined on [-1, 1]; here pixels are [0, 1], which changes only the variance's epsilon.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable, Shape
from coser_cli.tiling.grid import Box
from coser_cli.tiling.statistics import Statistics

VARIANCE_EPSILON = 1e-5 / 4
"""1e-5 on [-1, 1], where variances are four times those on [0, 1]."""
WAVELET_LEVELS = 5
WAVELET_REACH = 2**WAVELET_LEVELS - 1
"""How far the coarse part sees: 1 + 2 + 4 + 8 + 16."""
_BAND_PIXELS = 2**19
"""Read at once when statistics of a map are taken."""


def color_fix(name: str, pixels: Tensor, style: Tensor) -> Tensor:
    """`pixels` with the colours of `style`, both `(B, 3, H, W)` in [0, 1]; result not clamped.

    `name` is one of `settings.COLOR_FIXES`.
    """
    if name == "none":
        return pixels
    fixes = {"adain": adain, "wavelet": wavelet}
    return fixes[name](pixels, style)


class StreamedColorFix:
    """`color_fix` of a map, made box by box as if it were done at once; a map to read from itself.

    `pixels` and `style` `(3, >= H, >= W)` in [0, 1]; of both only `size` is picture: what lies
    right of it and below is padding and has no part in it. `adain` reads both once at the start.
    Values are clamped to [0, 1].
    """

    def __init__(self, name: str, pixels: Readable, style: Readable, size: Size) -> None:
        self.name = name
        self.shape: Shape = (3, *size.hw)
        self._pixels = pixels
        self._style = style
        if name == "adain":
            self._gain, self._offset = _colour_change(pixels, style, size)

    def read(self, box: Box) -> Tensor:
        """The result in a box, `(1, 3, box.height, box.width)` float32."""
        if self.name == "none":
            return self._pixels.read(box).float().clamp(0, 1)
        if self.name == "adain":
            return (self._pixels.read(box).float() * self._gain + self._offset).clamp(0, 1)
        around = box.widened(WAVELET_REACH).inside(Size.of(self))
        pixels, style = (each.read(around).float() for each in (self._pixels, self._style))
        fixed = color_fix(self.name, pixels, style)
        return box.relative_to(around).crop(fixed).clamp(0, 1)


def adain(pixels: Tensor, style: Tensor) -> Tensor:
    """Each channel gets the mean and the (unbiased) variance of the same channel of `style`."""
    mean, deviation = _statistics(pixels)
    style_mean, style_deviation = _statistics(style)
    return (pixels - mean) * (style_deviation / deviation) + style_mean


def wavelet(pixels: Tensor, style: Tensor) -> Tensor:
    """The fine detail of `pixels` over the coarse colours of `style`.

    The à-trous decomposition is linear, so the coarse part of the difference is all one needs.
    """
    return pixels + _coarse(style - pixels)


def _statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per picture and channel, `(B, C, 1, 1)` each.

    A picture of a single pixel has no unbiased variance; it counts as flat.
    """
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    count = max(pixels.shape[2] * pixels.shape[3] - 1, 1)
    variance = (pixels - mean).square().sum(dim=(2, 3), keepdim=True) / count
    return mean, (variance + VARIANCE_EPSILON).sqrt()


def _colour_change(pixels: Readable, style: Readable, size: Size) -> tuple[Tensor, Tensor]:
    """AdaIN as gain and offset per channel, `(3, 1, 1)` float32 each."""
    mean, deviation = _map_statistics(pixels, size)
    style_mean, style_deviation = _map_statistics(style, size)
    gain = style_deviation / deviation
    offset = style_mean - mean * gain
    return gain.float().view(-1, 1, 1), offset.float().view(-1, 1, 1)


def _map_statistics(pixels: Readable, size: Size) -> tuple[Tensor, Tensor]:
    """`_statistics` of a map's top left `size`, `(C,)` float64 each."""
    channels = pixels.shape[0]
    rows = max(1, _BAND_PIXELS // size.width)
    total = Statistics(0, *torch.zeros(2, channels, dtype=torch.float64))
    for top in range(0, size.height, rows):
        band = pixels.read(Box(top, 0, min(top + rows, size.height), size.width))
        total += Statistics.of(band, channels)
    variance = total.m2 / max(total.count - 1, 1)
    return total.mean, (variance + VARIANCE_EPSILON).sqrt()


def _coarse(pixels: Tensor) -> Tensor:
    """What remains after `WAVELET_LEVELS` blurs of radius 1, 2, 4, 8, 16; edges are repeated."""
    row = torch.tensor([0.25, 0.5, 0.25], dtype=pixels.dtype, device=pixels.device)
    channels = pixels.shape[1]
    kernel = torch.outer(row, row).expand(channels, 1, 3, 3)
    for level in range(WAVELET_LEVELS):
        radius = 2**level
        padded = F.pad(pixels, (radius,) * 4, mode="replicate")
        pixels = F.conv2d(padded, kernel, dilation=radius, groups=channels)
    return pixels
