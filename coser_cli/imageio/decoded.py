"""Pixels as a file has them: upright and of full range, in the file's own colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from coser_cli.imageio.photo import FloatArray, Samples

Numbers = NDArray[np.generic]


@dataclass(frozen=True)
class Decoded:
    """`values` `(H, W, C)`, uint8 or uint16 of full range: grey, RGB or CMYK (0 is no ink).

    `alpha` `(H, W)` in [0, 1], or None. `is_srgb`: a profile does not apply any more.
    """

    values: Samples
    alpha: FloatArray | None = None
    notes: tuple[str, ...] = ()
    is_srgb: bool = False


def upright(values: Numbers, orientation: int) -> Numbers:
    """`(H, W, ...)` turned as EXIF's orientation 1 to 8 says."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def full_range(values: Numbers, bits: int) -> Samples:
    """Whole numbers of `bits` bits → uint8 or uint16 whose largest value is white."""
    top = 2**bits - 1
    whole: Any = values
    if bits in (8, 16):
        return cast(Samples, whole.astype(np.uint8 if bits == 8 else np.uint16, copy=False))
    if bits < 8:
        return np.rint(values.astype(np.float32) * np.float32(255 / top)).astype(np.uint8)
    return np.rint(values.astype(np.float64) * (65535 / top)).astype(np.uint16)


def from_floats(values: Numbers) -> NDArray[np.uint16]:
    """[0, 1], cut off outside → uint16."""
    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(finite, 0, 1) * np.float32(65535)).astype(np.uint16)


def straight(values: Samples, alpha: FloatArray) -> Samples:
    """Colours that were multiplied by alpha, without it."""
    top = np.iinfo(values.dtype).max
    divided = values / np.maximum(alpha, 1e-6)[..., None]
    return cast(Samples, np.rint(np.clip(divided, 0, top)).astype(values.dtype))
