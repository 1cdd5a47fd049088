"""Colours of what cannot be seen."""

from __future__ import annotations

import numpy as np

from coser_cli.imageio.photo import FloatArray


def fill_transparent(pixels: FloatArray, alpha: FloatArray) -> FloatArray:
    """Give fully transparent pixels the colour of their surroundings.

    Their stored colour is arbitrary (often black), and a network would let it bleed into the
    visible edge. Pull-push: average the visible colours over ever larger cells, then fill each
    hole from the smallest cell that saw any. `pixels (3, H, W)`, `alpha (H, W)`.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    filled = _pull_push(pixels * ~hidden, (~hidden).astype(np.float32))
    return np.where(hidden, filled, pixels).astype(np.float32)


def _pull_push(weighted: FloatArray, weight: FloatArray) -> FloatArray:
    """Colour sums and weights → colours everywhere, by halving until no hole is left."""
    colours = (weighted / np.maximum(weight, 1e-6)).astype(np.float32)
    if weight.all():
        return colours
    coarse = _pull_push(_halve(weighted), _halve(weight))
    height, width = weight.shape
    repeated = coarse.repeat(2, axis=-2).repeat(2, axis=-1)[..., :height, :width]
    return np.where(weight > 0, colours, repeated)


def _halve(values: FloatArray) -> FloatArray:
    """Sums of 2×2 cells; an odd last row or column is padded with zeros."""
    height, width = values.shape[-2:]
    pad = [(0, 0)] * (values.ndim - 2) + [(0, height % 2), (0, width % 2)]
    even = np.pad(values, pad)
    return even[..., ::2, ::2] + even[..., 1::2, ::2] + even[..., ::2, 1::2] + even[..., 1::2, 1::2]
