"""A mask from a file: 8-bit grey, upright."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from coser_cli.imageio.decoded import Decoded
from coser_cli.imageio.header import opened_file
from coser_cli.imageio.opening import require_size, unreadable
from coser_cli.imageio.read import decoded_file

Mask = NDArray[np.uint8]
"""`(H, W)`: 255 is white."""


def read_mask(path: str | Path) -> Mask:
    """Decode a grey picture file of 8 bits (or fewer) per pixel. Its colour profile is ignored: the
    values are weights. Raises `InputError` for anything else, and what `read_photo` raises.
    """
    path = Path(path)
    with opened_file(path) as file:
        require_size(path, file.header.stored)
        decoded = decoded_file(path, file, None)
    if reason := _unfit(decoded):
        raise unreadable(path, reason, "save the mask as 8-bit grey without transparency")
    return cast("Mask", np.ascontiguousarray(decoded.values[..., 0]))


def _unfit(decoded: Decoded) -> str:
    """Why it is no mask; "" where it is one."""
    if decoded.values.shape[2] != 1:
        return "a mask is grey, and this picture is in colour"
    if decoded.alpha is not None:
        return "a mask has no transparency"
    if decoded.values.dtype != np.uint8:
        return f"a mask has 8 bits, and this picture has {decoded.values.itemsize * 8}"
    return ""
