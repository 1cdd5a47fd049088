"""Colour profiles and transparency: what lies between a file's colours and plain sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from coser_cli.imageio.photo import FloatArray

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC


def profile_space(icc: bytes | None) -> str | None:
    """Colour space of a profile ("RGB", "GRAY", "CMYK" ...); None if absent or damaged."""
    if not icc:
        return None
    try:
        return str(_open(icc).profile.xcolor_space).strip()
    except (OSError, ImageCms.PyCMSError):
        return None


def is_srgb(icc: bytes) -> bool:
    """Whether a readable profile is an sRGB one, so that converting would only round."""
    description = _open(icc).profile.profile_description or ""
    return "srgb" in description.lower()


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """8-bit picture in the profile's space → the same colours in sRGB, mode RGB.

    Raises `ImageCms.PyCMSError` where profile and picture do not fit.
    """
    return _transform(image, _open(icc), _srgb(), "RGB")


def from_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """RGB picture in sRGB → the profile's space (mode L for a grey profile, else RGB)."""
    mode = "L" if profile_space(icc) == "GRAY" else "RGB"
    return _transform(image.convert("RGB"), _srgb(), _open(icc), mode)


def _transform(
    image: Image.Image,
    source: ImageCms.ImageCmsProfile,
    target: ImageCms.ImageCmsProfile,
    mode: str,
) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, source, target, renderingIntent=_INTENT, outputMode=mode
    )
    assert converted is not None  # only an in-place conversion returns None
    return converted


def _open(icc: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(icc))


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


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
    spread = coarse.repeat(2, axis=-2).repeat(2, axis=-1)[..., :height, :width]
    return np.where(weight > 0, colours, spread)


def _halve(values: FloatArray) -> FloatArray:
    """Sums of 2×2 cells; an odd last row or column is padded with zeros."""
    height, width = values.shape[-2:]
    pad = [(0, 0)] * (values.ndim - 2) + [(0, height % 2), (0, width % 2)]
    even = np.pad(values, pad)
    return even[..., ::2, ::2] + even[..., 1::2, ::2] + even[..., ::2, 1::2] + even[..., 1::2, 1::2]
