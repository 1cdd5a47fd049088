"""Grid energy: meshes and stipples that upsamplers leave, read from the spectrum.

A network that writes 4 × 4 pixels per input pixel, or twice 2 × 2, repeats its errors every two or
four pixels. Repetition is energy at 1/4 and 1/2 cycle per pixel that the neighbouring frequencies
do not have. Natural pictures have little of it, so their own value is the measure.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coser_cli.errors import InputError
from coser_cli.evaluation.color import luma

SEGMENT = 64
"""Pixels of a line that are transformed at once (Welch's method): the value of a mesh then does
not depend on the size of the picture."""
SMALLEST = 32
FREQUENCIES = (1 / 4, 1 / 2)
_NEIGHBOURS = (2, 3, 4)
"""How many bins away the neighbourhood lies; a Hann window leaks one bin to each side."""
_ROUNDING = 1 / 12 / 255**2
"""Variance of rounding to 8 bits: keeps flat pictures from a division by zero."""


def grid_energy(output: Tensor, target: Tensor) -> float:
    """Mesh of a result against the true picture's own, both `(1, 3, H, W)` in [0, 1].

    The power at 1/4 and 1/2 cycle per pixel over that of the bins around it, along rows and along
    columns, averaged; then divided by the same of `target`. 1 is as in the true picture, more is a
    mesh. Raises `InputError` where a side has fewer than 32 pixels.
    """
    return peaks(output) / peaks(target)


def peaks(pixels: Tensor) -> float:
    """Mean power at the frequencies of a mesh, relative to their neighbourhood; 1 for noise.

    Raises `InputError` where a side has fewer than 32 pixels.
    """
    grey = luma(pixels)[0, 0]
    ratios = [_ratio(spectrum(lines), f) for lines in (grey, grey.T) for f in FREQUENCIES]
    return sum(ratios) / len(ratios)


def spectrum(lines: Tensor) -> Tensor:
    """Power `(L/2 + 1,)` of lines `(N, W)`, averaged over lines and over segments that overlap by
    half, Hann window; L is a multiple of 4, at most 64. White noise of variance v has v everywhere.

    Raises `InputError` where lines have fewer than 32 pixels.
    """
    if lines.shape[1] < SMALLEST:
        raise InputError(
            f"grid energy needs {SMALLEST} pixels per side, and not {lines.shape[1]}",
            "leave grid_energy out of --metrics",
        )
    length = min(SEGMENT, lines.shape[1] // 4 * 4)
    window = torch.hann_window(length, dtype=lines.dtype)
    segments = lines.unfold(1, length, length // 2)
    segments = segments - segments.mean(dim=-1, keepdim=True)
    power = torch.fft.rfft(segments * window).abs().square()
    return power.mean(dim=(0, 1)) / window.square().sum()


def _ratio(power: Tensor, frequency: float) -> float:
    last = len(power) - 1  # 1/2 cycle per pixel
    peak = math.floor(2 * last * frequency)
    around = [peak + sign * step for step in _NEIGHBOURS for sign in (-1, 1)]
    neighbours = power[[each for each in around if each <= last]].mean()
    return float((power[peak] + _ROUNDING) / (neighbours + _ROUNDING))
