"""File → Photo: by content and not by name; upright, in sRGB, float32."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from coser_cli.errors import InputError, shown
from coser_cli.imageio.color import fill_transparent, is_srgb, profile_space, to_srgb
from coser_cli.imageio.metadata import read_dpi, read_exif
from coser_cli.imageio.photo import FloatArray, Photo

READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_READABLE_TEXT = "PNG, JPEG, WebP, TIFF, BMP or GIF"
_GREY_MODES = ("1", "L", "LA", "La")
_WIDE_MODES = ("I", "F")
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


def read_photo(path: Path, max_pixels: int | None = None) -> Photo:
    """Decode a picture file (PNG, JPEG, WebP, TIFF, BMP, first frame of a GIF).

    `max_pixels` refuses larger pictures from the header alone, beside Pillow's own guard against
    decompression bombs. Raises `InputError` that names the file, the reason and the remedy.
    """
    _require_regular_file(path)
    with _open(path) as image:
        _require_size(path, image, max_pixels)
        return _decode(path, image)


def _require_regular_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _unreadable(path, "no such file", "check the name") from None
    except OSError as error:
        raise _unreadable(path, _reason(error), "check the path and its permissions") from None
    except ValueError as error:  # a NUL byte in the name
        raise _unreadable(path, str(error), "check the name") from None
    if stat.S_ISDIR(status.st_mode):
        raise _unreadable(path, "it is a folder", "name the pictures in it, as in FOLDER/*.jpg")
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(path, "it is not a regular file", "save the picture to a file first")
    if status.st_size == 0:
        raise _unreadable(path, "the file is empty", "copy or download it again")


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """The picture behind `path`, its header read, with Pillow's bomb warning as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Pillow warns about, only bombs matter here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=READABLE)
        except UnidentifiedImageError:
            raise _unreadable(
                path,
                "it is not a picture, is damaged, or has a format coser does not read",
                f"give a {_READABLE_TEXT} file",
            ) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _too_large(path, int(Image.MAX_IMAGE_PIXELS or 0)) from None
        except Exception as error:  # decoders raise anything on damaged headers
            if isinstance(error, OSError) and error.errno is not None:
                remedy = "check the file's permissions"
                raise _unreadable(path, _reason(error), remedy) from None
            raise _damaged(path, error) from None
        with image:
            yield image


def _require_size(path: Path, image: Image.Image, max_pixels: int | None) -> None:
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise _too_large(path, max_pixels, f"it has {image.width}×{image.height} pixels")


def _decode(path: Path, image: Image.Image) -> Photo:
    """Everything after the header."""
    try:
        # All before loading, which forgets the encoding and closes the file EXIF lies in.
        notes = _header_notes(image)
        exif, dpi, icc = read_exif(image), read_dpi(image), image.info.get("icc_profile")
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged data
        raise _damaged(path, error) from None
    if image.mode in _WIDE_MODES or image.mode == "LAB":
        raise _unreadable(
            path, f"pixels of type {image.mode} are not read", "convert it to 8 or 16 bits"
        )
    colours, alpha = _split(image, icc)
    pixels = colours.pixels if alpha is None else fill_transparent(colours.pixels, alpha)
    return Photo(
        pixels,
        alpha=alpha,
        grey=image.mode in _GREY_MODES or image.mode.startswith("I;16"),
        bit_depth=colours.bit_depth,
        icc=colours.icc,
        convert=colours.convert,
        exif=exif,
        dpi=dpi,
        notes=notes + colours.notes,
    )


def _header_notes(image: Image.Image) -> tuple[str, ...]:
    """What is lost of this file, in words."""
    notes = []
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("only the first frame or page is used")
    bits = getattr(image, "tag_v2", {}).get(258, (8,))  # TIFF BitsPerSample
    encoding = str([tile.args for tile in getattr(image, "tile", ())])
    if image.mode in ("RGB", "RGBA", "LA") and (";16" in encoding or max(bits) > 8):
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
        notes = ("the colour profile is damaged and was ignored",) if icc else ()
        return _Colours(_floats(image), notes=notes)
    if space == "RGB" and image.mode == "RGB" and is_srgb(icc):
        return _Colours(_floats(image), icc=icc)
    try:
        converted = to_srgb(image, icc)
    except ImageCms.PyCMSError:
        return _Colours(_floats(image), notes=("the colour profile does not fit; ignored",))
    # The result is RGB: a CMYK profile cannot describe it, so that one is not written back.
    written = icc if space in ("RGB", "GRAY") else None
    return _Colours(_floats(converted), icc=written, convert=written is not None)


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


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _unreadable(path: Path, reason: str, remedy: str) -> InputError:
    return InputError(f"cannot read {shown(path)}: {reason}", remedy)


def _damaged(path: Path, error: Exception) -> InputError:
    detail = " ".join(str(error).split()) or type(error).__name__
    reason = f"the file is damaged or cut off ({detail})"
    return _unreadable(path, reason, "copy or download it again")


def _too_large(path: Path, limit: int, found: str = "it has too many pixels") -> InputError:
    reason = f"{found}, the limit is {limit / 1e6:.1f} million"
    return _unreadable(path, reason, "make it smaller, crop it, or use a smaller scale")
