"""Pixels of a result → values of its file: rounded, in its colour space, with its transparency."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from PIL import Image

from coser_cli.imageio.formats import Format
from coser_cli.imageio.photo import FloatArray, Photo, Samples
from coser_cli.imageio.profiles import from_srgb
from coser_cli.size import Size

_LANCZOS_SUPPORT = 3
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601, as Pillow's own


def samples_of(pixels: FloatArray, source: Photo, row: Format, alpha: FloatArray | None) -> Samples:
    """Values `(H, W, C)`: grey or RGB as the source is, uint16 where it has 16 bits and the format
    can hold them, else uint8; with alpha, or on white where the format has none.

    `pixels` `(3, H, W)` and `alpha` `(H, W)` are of the result, or of a band of its rows.
    """
    bits = 16 if source.bit_depth == 16 and row.sixteen_bits else 8
    top = 2**bits - 1
    if source.convert and source.icc and row.icc:
        samples = _rounded(pixels, 65535).astype(np.uint16).transpose(1, 2, 0)
        values = from_srgb(samples, source.icc, bits)
    else:
        colours = np.tensordot(_LUMA, pixels, axes=1)[None] if source.grey else pixels
        rounded = _rounded(colours.astype(np.float32, copy=False), top).transpose(1, 2, 0)
        values = cast(Samples, rounded.astype(np.uint8 if bits == 8 else np.uint16))
    if alpha is None:
        return values
    if row.alpha:
        mask = _rounded(alpha, top).astype(values.dtype)[..., None]
        return np.concatenate([values, mask], axis=-1)
    share = np.clip(alpha, 0, 1)[..., None]
    return cast(Samples, np.rint(values * share + top * (1 - share)).astype(values.dtype))


def alpha_band(alpha: FloatArray, size: Size, rows: tuple[int, int]) -> FloatArray:
    """Rows (first, one past the last) of alpha `(h, w)` enlarged by Lanczos to `size`."""
    height, width = alpha.shape
    scale = height / size.height
    reach = math.ceil(_LANCZOS_SUPPORT * max(scale, 1)) + 1
    top, bottom = (row * height / size.height for row in rows)
    first, last = max(0, math.floor(top) - reach), min(height, math.ceil(bottom) + reach)
    image = Image.fromarray(alpha[first:last])
    box = (0, top - first, width, min(bottom, last) - first)
    target = size.width, rows[1] - rows[0]
    return np.asarray(image.resize(target, Image.Resampling.LANCZOS, box=box))


def _rounded(values: FloatArray, top: int) -> FloatArray:
    """Clipped to [0, 1] and rounded (not truncated) to 0 … top."""
    return np.rint(np.clip(values, 0.0, 1.0) * top)
