"""Colour profiles: what kind one is, and colours to sRGB and back, by Little CMS in libvips.

Values are uint8 or uint16 `(H, W, C)`: grey, RGB or CMYK.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from coser_cli.imageio.icc import SRGB_COLUMNS
from coser_cli.imageio.photo import Samples

_INTERPRETATIONS = {1: "b-w", 3: "srgb", 4: "cmyk"}
_WIDE = {1: "grey16", 3: "rgb16", 4: "cmyk"}
_ALIKE = 2 / 255
"""As far as two profiles may differ and still count as one: about what rounding to 8 bits does."""
_CHANNELS = {"GRAY": 1, "RGB": 3, "CMYK": 4}


class ProfileError(ValueError):
    """A profile cannot do what it is asked for."""


@lru_cache(maxsize=16)
def profile_space(icc: bytes | None) -> str | None:
    """Colour space of a profile ("RGB", "GRAY", "CMYK" ...); None if absent or damaged."""
    if not icc:
        return None
    try:
        return str(ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space).strip()
    except (OSError, ImageCms.PyCMSError, ValueError):
        return None


@lru_cache(maxsize=16)
def is_srgb(icc: bytes) -> bool:
    """Whether a profile's colours are sRGB's, whatever its name, so that converting would only
    round.
    """
    if profile_space(icc) != "RGB":
        return False
    steps = np.rint(np.linspace(0, 65535, 9)).astype(np.uint16)
    patches = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    try:
        shown = to_srgb(patches, icc)
    except ProfileError:
        return False
    return bool(np.abs(shown / 65535 - patches / 65535).max() <= _ALIKE)


def has_srgb_primaries(icc: bytes) -> bool:
    """Whether a profile made here differs from sRGB by its curve alone."""
    return profile_space(icc) == "GRAY" or all(column in icc for column in SRGB_COLUMNS)


@lru_cache(maxsize=16)
def can_be_written(icc: bytes) -> bool:
    """Whether colours can be converted to the profile; those of scanners only lead from it."""
    try:
        from_srgb(np.zeros((1, 1, 3), np.uint16), icc, 16)
    except ProfileError:
        return False
    return True


def to_srgb(values: Samples, icc: bytes) -> NDArray[np.uint16]:
    """Values in the profile's space → 16-bit sRGB `(H, W, 3)`. Raises `ProfileError`."""
    if _CHANNELS.get(profile_space(icc) or "") != values.shape[2]:
        raise ProfileError("profile and picture do not fit")
    image = _with_profile(_image(values), icc)
    return _done(lambda: image.icc_transform("srgb", embedded=True, intent="relative", depth=16))


def from_srgb(values: Samples, icc: bytes, bits: int) -> Samples:
    """SRGB `(H, W, 3)` → the profile's space, with 8 or 16 bits. Raises `ProfileError`."""
    imported = _image(values).icc_import(input_profile="srgb", intent="relative")
    image = _with_profile(imported, icc)
    return _done(lambda: image.icc_export(intent="relative", depth=bits))


def _image(values: Samples) -> Any:
    import pyvips

    names = _WIDE if values.dtype == np.uint16 else _INTERPRETATIONS
    data = np.ascontiguousarray(values)
    return pyvips.Image.new_from_array(data, interpretation=names[values.shape[2]])


def _with_profile(image: Any, icc: bytes) -> Any:
    import pyvips

    copied = image.copy()
    copied.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return copied


def _done(operation: Any) -> Any:
    import pyvips

    try:
        values = operation().numpy()
    except pyvips.Error as error:
        raise ProfileError(" ".join(str(error).split())) from None
    return values if values.ndim == 3 else values[..., None]
