"""Predictions of overlapping tiles, averaged under a window at every step of the sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coser_cli.tiling.grid import Box

Denoise = Callable[[Tensor, Tensor], Tensor]
Window = Callable[[int, int], Tensor]
"""(height, width) -> weights `(height, width)`, positive."""

VARIANCE = 0.01
"""Of the Gaussian, in units of the tile's squared side."""


def gaussian_window(height: int, width: int) -> Tensor:
    """Gaussian weights `(height, width)` float64, symmetric, 1 at the centre."""
    return torch.outer(_bell(height, (height - 1) / 2), _bell(width, (width - 1) / 2))


def published_window(height: int, width: int) -> Tensor:
    """The window of the published code, off centre vertically; only for comparison with it.

    Its constant factor is kept, too, though it cancels in the average.
    """
    rows, columns = _bell(height, height / 2), _bell(width, (width - 1) / 2)
    return torch.outer(rows, columns) / (2 * torch.pi * VARIANCE)


def tile(denoisers: Sequence[tuple[Box, Denoise]], window: Window = gaussian_window) -> Denoise:
    """One denoiser made of one per tile, each knowing the conditioning of its box.

    The boxes together must cover the latents `(B, C, h, w)`. The result, float32, has as many
    entries as the tiles' own results (guidance branches): their mean, weighted by `window`.
    """

    def blended(latents: Tensor, timestep: Tensor) -> Tensor:
        weight = torch.zeros(latents.shape[-2:], device=latents.device)
        total: Tensor | None = None
        for box, denoise in denoisers:
            prediction = denoise(box.crop(latents), timestep).float()
            if total is None:
                total = prediction.new_zeros(*prediction.shape[:2], *weight.shape)
            weights = window(box.height, box.width).to(prediction)
            box.crop(total).add_(prediction * weights)
            box.crop(weight).add_(weights)
        assert total is not None, "tiles must cover the latents"
        return total / weight

    return blended


def _bell(length: int, centre: float) -> Tensor:
    """exp(-(x - centre)² / (2·VARIANCE·length²)) for x = 0 … length-1."""
    x = torch.arange(length, dtype=torch.float64)
    return torch.exp(-((x - centre) ** 2) / (2 * VARIANCE * length**2))
