"""Regions: a grey mask says how strongly each place is restored; the rest is the plain enlargement.

White is restored fully, black is bicubic interpolation of the input, grey lies between. The mask
acts twice: on the latents, so that the decoder sees one picture, and on the pixels, so that black
and white are exact. Everything is read by boxes, in tiles and in memory alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.errors import InputError
from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable, Shape, TensorMap
from coser_cli.tiling.derived import Combined, reduced
from coser_cli.tiling.grid import Box

ROUNDING = 1e-5
"""Resampled values nearer than this to 0 or 1 count as exactly black or white."""


class Grey:
    """A mask `(1, 1, H, W)`, uint8 or float in [0, 1], as a map of floats that is converted when
    read.
    """

    def __init__(self, mask: Tensor) -> None:
        self._mask = mask
        self.shape: Shape = (1, mask.shape[-2], mask.shape[-1])

    def read(self, box: Box) -> Tensor:
        part = box.crop(self._mask).float()
        return part / 255 if self._mask.dtype == torch.uint8 else part


def weights_at(mask: Readable, size: Size) -> Readable:
    """A mask at `size`, `(1, *size.hw)`: exactly 0 in black regions, 1 in white."""
    return Combined(_exact, reduced(mask, size))


def _exact(values: Tensor) -> Tensor:
    return ((values - ROUNDING) / (1 - 2 * ROUNDING)).clamp(0, 1)


class CellWeights:
    """Weights of latent cells `(1, h, w)`: the mean over each cell's pixels. Where the picture ends
    within a cell, its last row and column are repeated.
    """

    def __init__(self, weights: Readable, cells: Size, downscale: int) -> None:
        self.shape: Shape = (1, *cells.hw)
        self._weights = weights
        self._downscale = downscale

    def read(self, box: Box) -> Tensor:
        pixels = box.scaled(self._downscale)
        _, height, width = self._weights.shape
        top, left = min(pixels.top, height - 1), min(pixels.left, width - 1)
        inside = Box(top, left, min(pixels.bottom, height), min(pixels.right, width))
        lacking = pixels.width - inside.width, pixels.height - inside.height
        values = self._weights.read(inside)
        if any(lacking):
            values = F.pad(values, (0, lacking[0], 0, lacking[1]), mode="replicate")
        return F.avg_pool2d(values, self._downscale)


def _masked(restored: Tensor, plain: Tensor, weights: Tensor) -> Tensor:
    """`restored` where weights are 1, `plain` where they are 0."""
    return torch.lerp(plain.to(restored), restored, weights.to(restored))


@dataclass(frozen=True)
class Regions:
    """A `mask` `(1, H, W)` of any size for one picture: `pixels` `(3, H, W)` of the input, worked
    on at `size`.
    """

    mask: Readable
    pixels: Readable
    size: Size

    def latents(self, plain: Readable, restored: Readable, downscale: int) -> Readable:
        """Latents `(C, h, w)` of both, mixed."""
        cells = Size.of(restored)
        weights = CellWeights(weights_at(self.mask, self.size), cells, downscale)
        return Combined(_masked, restored, plain, weights)

    def result(self, restored: Readable) -> Readable:
        """The result `(3, H, W)` over the plain enlargement."""
        target = Size.of(restored)
        plain = reduced(self.pixels, target)
        return Combined(_masked, restored, plain, weights_at(self.mask, target))


def masked_latents(
    mask: Tensor, plain: Tensor, restored: Tensor, size: Size, downscale: int
) -> Tensor:
    """`Regions.latents` in memory: latents `(B, C, h, w)` for a picture worked on at `size`."""
    cells = Size.of(restored)
    weights = CellWeights(weights_at(Grey(mask), size), cells, downscale).read(Box.whole(cells))
    return _masked(restored, plain, weights)


def masked_result(mask: Tensor, pixels: Tensor, restored: Tensor) -> Tensor:
    """`Regions.result` in memory: of input `pixels` and results `(B, 3, H, W)` on the CPU."""
    size, grey = Size.of(restored), Grey(mask)
    each = zip(pixels.float().cpu().split(1), restored.split(1), strict=True)
    maps = (Regions(grey, TensorMap(one), size).result(TensorMap(its)) for one, its in each)
    return torch.cat([one.read(Box.whole(size)) for one in maps])


def require_mask(mask: Tensor) -> Tensor:
    """The mask as `(1, 1, H, W)`. Raises `InputError` unless it is grey, uint8 or in [0, 1]."""
    if mask.dim() not in (2, 3, 4) or 0 in mask.shape or mask[..., 0, 0].numel() != 1:
        raise InputError(f"a mask of the shape {tuple(mask.shape)}", "give (H, W), grey")
    if mask.dtype != torch.uint8 and not mask.is_floating_point():
        raise InputError(f"a mask of {mask.dtype}", "give uint8, or floats in [0, 1]")
    if mask.is_floating_point() and not (mask.min() >= 0 and mask.max() <= 1):
        raise InputError("a mask has values outside [0, 1]", "white is 1, black is 0")
    return mask.reshape(1, 1, *mask.shape[-2:]).cpu()
