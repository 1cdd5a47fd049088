"""A file's colours → sRGB, and what is written back."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from coser_cli.imageio.decoded import Decoded
from coser_cli.imageio.photo import FloatArray, Photo, Samples
from coser_cli.imageio.profiles import (
    ProfileError,
    can_be_written,
    has_srgb_primaries,
    is_srgb,
    profile_space,
    to_srgb,
)

_DAMAGED = "the colour profile is damaged and was ignored"
_WRONG = "the colour profile does not fit; ignored"
_ONE_WAY = "the colour profile only leads to other colours, not back: the result is in sRGB"
_GREY_AS_RGB = "the colour profile of a grey picture is for RGB: the result has none"
_CMYK = "CMYK is converted to RGB"
_CMYK_GUESSED = "CMYK without a usable profile is converted to RGB by a simple rule"
_BAND = 256
"""Rows that are converted at once."""


def to_photo(decoded: Decoded, icc: bytes | None, *, is_made: bool) -> Photo:
    """The photo in sRGB, still without alpha and metadata, by a profile that the file has or that
    stands for what it says (`is_made`).

    A profile that says sRGB changes nothing. One that does not fit is ignored, and that is said.
    """
    values: Any = decoded.values
    bits = values.itemsize * 8
    grey = values.shape[2] == 1
    if icc is None or decoded.is_srgb:
        return _as_they_are(values, bits)
    space, wanted = profile_space(icc), {1: "GRAY", 3: "RGB", 4: "CMYK"}[values.shape[2]]
    if space is None or (space != wanted and not (grey and space == "RGB")):
        return _as_they_are(values, bits, (_DAMAGED if space is None else _WRONG,))
    kept = icc if space == wanted and wanted != "CMYK" and can_be_written(icc) else None
    notes: tuple[str, ...] = ()
    if is_made and has_srgb_primaries(icc):  # a mere gamma: many programs would not look for it
        kept = None
    elif kept is None:
        notes = (_CMYK if wanted == "CMYK" else _GREY_AS_RGB if space != wanted else _ONE_WAY,)
    if is_srgb(icc):
        if grey:
            return _as_they_are(values, bits)
        kept = None if is_made else kept
        return Photo(_floats(values), bit_depth=bits, icc=kept, notes=notes)
    if space != wanted:
        values = np.repeat(values, 3, axis=2)
    try:
        converted = to_srgb(values, icc)
    except ProfileError:
        return _as_they_are(values, bits, (_WRONG,))
    return Photo(
        _floats(converted),
        grey=grey,
        bit_depth=bits,
        icc=kept,
        convert=kept is not None,
        notes=notes,
    )


def _as_they_are(values: Samples, bits: int, notes: tuple[str, ...] = ()) -> Photo:
    """Taken as sRGB."""
    grey = values.shape[2] == 1
    if values.shape[2] == 4:
        values, notes = _from_cmyk(values), (*notes, _CMYK_GUESSED)
    return Photo(_floats(values), grey=grey, bit_depth=bits, notes=notes)


def _from_cmyk(values: Samples) -> Samples:
    """What light is left by each ink and by black."""
    top = float(np.iinfo(values.dtype).max)
    light = (top - values[..., :3].astype(np.float32)) * (top - values[..., 3:].astype(np.float32))
    return cast(Samples, np.rint(light / np.float32(top)).astype(values.dtype))


def _floats(values: Samples) -> FloatArray:
    """`(H, W, 1 or 3)` → float32 `(3, H, W)` in [0, 1]."""
    height, width, channels = values.shape
    top = np.float32(np.iinfo(values.dtype).max)
    pixels = np.empty((3, height, width), np.float32)
    # in bands: copies of the whole would be the largest things in memory
    for first in range(0, height, _BAND):
        band = values[first : first + _BAND].transpose(2, 0, 1)
        np.divide(
            np.broadcast_to(band, (3, *band.shape[1:])) if channels == 1 else band,
            top,
            out=pixels[:, first : first + _BAND],
        )
    return pixels
