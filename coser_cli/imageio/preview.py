"""Picture files → 8-bit sRGB pictures of a bounded size, to be looked at, and their data URIs."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from coser_cli.errors import InputError, shown
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.read import read_photo

# Above this, libvips shrinks while it decodes: a result of 268 million pixels needs some megabytes
# then, and Pillow's guard against decompression bombs, made for inputs, does not refuse it.
_WHOLE_PIXELS = 2**24
# Up to here a picture is embedded without loss; above, JPEG is a tenth of the size.
_LOSSLESS_PIXELS = 2**20


@dataclass(frozen=True)
class Preview:
    """A picture to look at: RGB without transparency (on white), upright, in sRGB.

    `size` is the file's own (width, height), which `image` may be smaller than.
    """

    image: Image.Image
    size: tuple[int, int]


def read_preview(path: Path, max_side: int) -> Preview:
    """Decode a picture file, reduced to `max_side` pixels per side where it is larger.

    Raises `InputError` that names the file, the reason and the remedy.
    """
    return _read_large(path, max_side) or _read_whole(path, max_side)


def data_uri(image: Image.Image, *, thumbnail: bool = False) -> str:
    """The picture as a `data:` address: PNG if small, else JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    if thumbnail:
        kind = "jpeg"
        image.save(buffer, "JPEG", quality=82)
    elif is_lossless(image.size):
        kind = "png"
        image.save(buffer, "PNG")
    else:
        kind = "jpeg"
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def is_lossless(size: tuple[int, int]) -> bool:
    """Whether `data_uri` embeds a picture of this (width, height) without loss."""
    return size[0] * size[1] <= _LOSSLESS_PIXELS


def fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(width, height) reduced to `max_side` per side, if larger; no side vanishes."""
    factor = min(1.0, max_side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def at_size(preview: Preview, size: tuple[int, int]) -> Image.Image:
    """The preview's picture at (width, height), by bicubic interpolation."""
    if preview.image.size == size:
        return preview.image
    return preview.image.resize(size, Image.Resampling.BICUBIC)


def _read_whole(path: Path, max_side: int) -> Preview:
    photo = read_photo(path)
    image = _to_image(photo)
    size = fitted(photo.size, max_side)
    if size != photo.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return Preview(image, photo.size)


def _to_image(photo: Photo) -> Image.Image:
    """The photo's pixels, on white where it is transparent."""
    pixels = photo.pixels
    if photo.alpha is not None:
        pixels = pixels * photo.alpha + (1 - photo.alpha)
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8).transpose(1, 2, 0), "RGB")


def _read_large(path: Path, max_side: int) -> Preview | None:
    """The preview of a large picture; None where it is small, or libvips does not read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large picture: that is what this is for
            with Image.open(path) as image:
                pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = 2 * int(Image.MAX_IMAGE_PIXELS or _WHOLE_PIXELS)
    except Exception:  # not readable: `read_photo` finds the words for it
        return None
    if pixels <= _WHOLE_PIXELS:
        return None
    import pyvips

    try:
        header = pyvips.Image.new_from_file(str(path), access="sequential")
    except (pyvips.Error, ValueError):
        return None
    try:
        return _shrunk(pyvips, header, path, max_side)
    except pyvips.Error as error:
        detail = " ".join(str(error).split())
        reason = f"cannot read {shown(path)}: the file is damaged or cut off ({detail})"
        raise InputError(reason, "copy or download it again") from None


def _shrunk(pyvips: Any, header: Any, path: Path, max_side: int) -> Preview:
    upright = header.autorot()
    size = (int(upright.width), int(upright.height))
    shown_size = fitted(size, max_side)
    small = pyvips.Image.thumbnail(
        str(path),
        shown_size[0],
        height=shown_size[1],
        size="force",
        output_profile="srgb",
        fail_on="truncated",
    )
    if small.hasalpha():
        small = small.flatten(background=[255, 255, 255])
    values = small.colourspace("srgb").cast("uchar").numpy()
    return Preview(Image.fromarray(np.ascontiguousarray(values[..., :3])), size)
