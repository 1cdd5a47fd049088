"""File → Photo: by content and not by name; upright, in sRGB, float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from coser_cli.imageio import sixteen_bit
from coser_cli.imageio.color import fill_transparent, is_srgb, profile_space, to_srgb
from coser_cli.imageio.header import Header, header_of, header_of_tiff
from coser_cli.imageio.opening import damaged, opened, picture_kind, too_large, unreadable
from coser_cli.imageio.photo import FloatArray, Photo
from coser_cli.imageio.sixteen_bit import WideArray

_GREY_MODES = ("1", "L", "LA", "La")
_WIDE_MODES = ("I", "F")
_DAMAGED_PROFILE = "the colour profile is damaged and was ignored"
_WRONG_PROFILE = "the colour profile does not fit; ignored"
_BAND = 256
"""Rows that are converted at once."""


@dataclass(frozen=True)
class _Colours:
    """8- or 16-bit colour channels on their way to sRGB."""

    pixels: FloatArray
    bit_depth: int = 8
    icc: bytes | None = None
    convert: bool = False
    notes: tuple[str, ...] = ()


def read_photo(path: str | Path, max_pixels: int | None = None, frame: int | None = None) -> Photo:
    """Decode a picture file: PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF, or HEIC with its plug-in.

    `frame` counts the frames of an animation or the pages of a TIFF from 0; None is the first, and
    says so in `notes` where there are more. `max_pixels` refuses larger pictures from the header
    alone, beside Pillow's own guard against decompression bombs. Raises `InputError` that names the
    file, the reason and the remedy.
    """
    path = Path(path)
    kind = picture_kind(path)
    if kind == "TIFF" and frame is None and sixteen_bit.only_vips_reads(path):
        header = header_of_tiff(path)
        _require_size(path, header.stored, max_pixels or Image.MAX_IMAGE_PIXELS)
        return _decode_wide(path, header, 0)
    with opened(path, kind, frame) as image:
        _require_size(path, image.size, max_pixels)
        is_wide = sixteen_bit.is_wide(image)  # before EXIF is looked for, which loads a PNG
        notes = _header_notes(path, image) if frame is None else ()
        header = header_of(path, image)
        if is_wide:
            return _decode_wide(path, header, frame or 0, notes)
        return _decode(path, image, header, notes)


def _require_size(path: Path, size: tuple[int, int], max_pixels: int | None) -> None:
    if max_pixels is not None and size[0] * size[1] > max_pixels:
        raise too_large(path, max_pixels, f"it has {size[0]}×{size[1]} pixels")


def _decode(path: Path, image: Image.Image, header: Header, notes: tuple[str, ...]) -> Photo:
    """Everything after the header."""
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged data
        raise damaged(path, error) from None
    if image.mode in _WIDE_MODES or image.mode == "LAB":
        raise unreadable(
            path, f"pixels of type {image.mode} are not read", "convert it to 8 or 16 bits"
        )
    colours, alpha = _split(image, header.icc)
    grey = image.mode in _GREY_MODES or image.mode.startswith("I;16")
    return _photo(header, colours, alpha, grey, notes)


def _decode_wide(path: Path, header: Header, frame: int, notes: tuple[str, ...] = ()) -> Photo:
    """The same of a picture with 16 bits that Pillow does not hold."""
    try:
        values = sixteen_bit.upright(sixteen_bit.read_wide(path, frame), header.orientation)
    except OSError as error:
        raise damaged(path, error) from None
    grey = values.shape[2] < 3
    alpha = None
    if values.shape[2] in (2, 4):
        alpha = values[..., -1].astype(np.float32) / np.float32(65535)
        values = values[..., :-1]
    return _photo(header, _wide_to_srgb(values, header.icc), alpha, grey, notes)


def _photo(
    header: Header,
    colours: _Colours,
    alpha: FloatArray | None,
    grey: bool,
    notes: tuple[str, ...],
) -> Photo:
    pixels = colours.pixels if alpha is None else fill_transparent(colours.pixels, alpha)
    return Photo(
        pixels,
        alpha=alpha,
        grey=grey,
        bit_depth=colours.bit_depth,
        icc=colours.icc,
        convert=colours.convert,
        exif=header.exif,
        xmp=header.xmp,
        dpi=header.dpi,
        notes=notes + colours.notes,
    )


def _header_notes(path: Path, image: Image.Image) -> tuple[str, ...]:
    """What is lost of this file, in words."""
    notes = []
    try:
        animated = getattr(image, "is_animated", False)
    except Exception as error:  # it counts the frames, and decoders raise anything on damaged ones
        raise damaged(path, error) from None
    if animated and image.format != "MPO":
        notes.append("only the first frame or page is used (--all-frames takes all)")
    bits = getattr(image, "tag_v2", {}).get(258, (8,))  # TIFF BitsPerSample
    if max(bits) > 8 and not (sixteen_bit.is_wide(image) or image.mode.startswith("I")):
        notes.append("16-bit colour is read as 8-bit")
    return tuple(notes)


def _split(image: Image.Image, icc: bytes | None) -> tuple[_Colours, FloatArray | None]:
    """Colours in sRGB, and alpha where the picture has any transparency."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float32) / 65535.0
        kept = icc if profile_space(icc) == "GRAY" else None
        return _Colours(np.repeat(values[None], 3, axis=0), 16, kept), None
    grey = image.mode in _GREY_MODES
    alpha = None
    if image.has_transparency_data:
        channel = image.convert("RGBA").getchannel("A")
        alpha = np.asarray(channel).astype(np.float32) / 255.0
        image = image.convert("RGBA").convert("RGB")
    if grey:
        image = image.convert("L")
    elif image.mode != "CMYK":
        image = image.convert("RGB")
    return _to_srgb(image, icc), alpha


def _to_srgb(image: Image.Image, icc: bytes | None) -> _Colours:
    """Colours of an L, RGB or CMYK picture in sRGB, and the profile to write back."""
    space = profile_space(icc)
    if icc is None or space is None:
        notes = (_DAMAGED_PROFILE,) if icc else ()
        return _Colours(_floats(image), notes=notes)
    if space == "RGB" and image.mode == "RGB" and is_srgb(icc):
        return _Colours(_floats(image), icc=icc)
    try:
        converted = to_srgb(image, icc)
    except ImageCms.PyCMSError:
        return _Colours(_floats(image), notes=(_WRONG_PROFILE,))
    # The result is RGB: a CMYK profile cannot describe it, so that one is not written back.
    written = icc if space in ("RGB", "GRAY") else None
    return _Colours(_floats(converted), icc=written, convert=written is not None)


def _wide_to_srgb(values: WideArray, icc: bytes | None) -> _Colours:
    """16-bit grey or RGB `(H, W, C)` in sRGB; a grey profile's pixels stay as they are."""
    space = profile_space(icc)
    notes: tuple[str, ...] = ()
    kept, convert = (icc if space == ("RGB" if values.shape[2] == 3 else "GRAY") else None), False
    if icc is not None and kept is None:
        notes = (_DAMAGED_PROFILE if space is None else _WRONG_PROFILE,)
    elif kept is not None and space == "RGB" and not is_srgb(kept):
        try:
            values, convert = sixteen_bit.wide_to_srgb(values, kept), True
        except OSError:
            kept, notes = None, (_WRONG_PROFILE,)
    pixels = np.broadcast_to(values, (*values.shape[:2], 3)).transpose(2, 0, 1)
    scaled = np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(65535)
    return _Colours(scaled, 16, kept, convert, notes)


def _floats(image: Image.Image) -> FloatArray:
    """8-bit picture → float32 `(3, H, W)` in [0, 1]."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    pixels = np.empty((3, image.height, image.width), np.float32)
    # in bands: copies of the whole would be the largest things in memory
    for top in range(0, image.height, _BAND):
        bottom = min(top + _BAND, image.height)
        values = np.asarray(rgb.crop((0, top, image.width, bottom))).transpose(2, 0, 1)
        np.divide(values, np.float32(255), out=pixels[:, top:bottom])
    return pixels
