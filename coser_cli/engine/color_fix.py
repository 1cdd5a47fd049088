"""Give the result the colours of the enlarged input: AdaIN or wavelet, after StableSR.

Both were defined on [-1, 1]; here pixels are [0, 1], which changes only the variance's epsilon.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

VARIANCE_EPSILON = 1e-5 / 4
"""1e-5 on [-1, 1], where variances are four times those on [0, 1]."""
WAVELET_LEVELS = 5


def color_fix(name: str, pixels: Tensor, style: Tensor) -> Tensor:
    """`pixels` with the colours of `style`, both `(B, 3, H, W)` in [0, 1]; result not clamped.

    `name` is one of `settings.COLOR_FIXES`.
    """
    if name == "none":
        return pixels
    fixes = {"adain": adain, "wavelet": wavelet}
    return fixes[name](pixels, style)


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
