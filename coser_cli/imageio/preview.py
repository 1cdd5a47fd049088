"""Picture files → 8-bit sRGB pictures of a bounded size, to be looked at, and their data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coser_cli.errors import InputError, shown
from coser_cli.imageio.photo import FloatArray, Photo
from coser_cli.imageio.read import read_photo
from coser_cli.size import Size

# Above this, libvips shrinks while it decodes: a result of 268 million pixels needs some megabytes
# then, and Pillow's guard against decompression bombs, made for inputs, does not refuse it.
_WHOLE_PIXELS = 2**24
# Up to here a picture is embedded without loss; above, JPEG is a tenth of the size.
_LOSSLESS_PIXELS = 2**20
_ROWS = 512  # that are converted at once


@dataclass(frozen=True)
class Preview:
    """A picture to look at: RGB without transparency (on white), upright, in sRGB.

    `size` is the file's own, which `image` may be smaller than.
    """

    image: Image.Image
    size: Size


def preview_of(photo: Photo, size: Size | None = None) -> Preview:
    """A photo in memory; `size` is that of the picture it is a reduction of, if it is one."""
    return Preview(to_image(photo), size or photo.size)


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
    elif is_lossless(Size.of_wh(image.size)):
        kind = "png"
        image.save(buffer, "PNG")
    else:
        kind = "jpeg"
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def is_lossless(size: Size) -> bool:
    """Whether `data_uri` embeds a picture of this size without loss."""
    return size.area <= _LOSSLESS_PIXELS


def at_size(preview: Preview, size: Size) -> Image.Image:
    """The preview's picture at this size, by bicubic interpolation."""
    if preview.image.size == size.wh:
        return preview.image
    return preview.image.resize(size.wh, Image.Resampling.BICUBIC)


def _read_whole(path: Path, max_side: int) -> Preview:
    photo = read_photo(path)
    image = to_image(photo)
    size = photo.size.within(max_side)
    if size != photo.size:
        image = image.resize(size.wh, Image.Resampling.LANCZOS)
    return Preview(image, photo.size)


def to_image(photo: Photo) -> Image.Image:
    """The photo in 8 bits, on white where it is transparent; alpha may have another size."""
    image = Image.fromarray(_bytes(photo.pixels), "RGB")
    if photo.alpha is None:
        return image
    mask = Image.fromarray(np.rint(np.clip(photo.alpha, 0, 1) * 255).astype(np.uint8), "L")
    mask = mask.resize(image.size, Image.Resampling.LANCZOS)
    return Image.composite(image, Image.new("RGB", image.size, "white"), mask)


def to_pixels(image: Image.Image) -> FloatArray:
    """An RGB picture as float32 `(3, H, W)` in [0, 1]."""
    values = np.asarray(image).transpose(2, 0, 1).astype(np.float32)
    return np.ascontiguousarray(values / np.float32(255))


def _bytes(pixels: FloatArray) -> NDArray[np.uint8]:
    """`(3, H, W)` in [0, 1] → `(H, W, 3)`, strip by strip to spare memory."""
    values = np.empty((*pixels.shape[1:], 3), dtype=np.uint8)
    for top in range(0, pixels.shape[1], _ROWS):
        strip = pixels[:, top : top + _ROWS].transpose(1, 2, 0)
        values[top : top + _ROWS] = np.rint(np.clip(strip, 0.0, 1.0) * 255)
    return values


def _read_large(path: Path, max_side: int) -> Preview | None:
    """The preview of a large picture; None where it is small, or libvips does not read it."""
    try:
        with Image.open(path) as image:
            pixels = image.width * image.height
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
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
    size = Size(int(upright.height), int(upright.width))
    shown_size = size.within(max_side)
    small = pyvips.Image.thumbnail(
        str(path),
        shown_size.width,
        height=shown_size.height,
        size="force",
        output_profile="srgb",
        fail_on="truncated",
    )
    if small.hasalpha():
        small = small.flatten(background=[255, 255, 255])
    values = small.colourspace("srgb").cast("uchar").numpy()
    return Preview(Image.fromarray(np.ascontiguousarray(values[..., :3])), size)
