"""File → opened picture: recognised by content, its header read, its errors in words."""

from __future__ import annotations

import logging
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError, features

from coser_cli.errors import InputError, reason_of, shown
from coser_cli.imageio.sniff import REFUSED, sniff
from coser_cli.size import Size

# What Pillow tries where the content shows nothing; HEIC always shows itself.
_GUESSED = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_READABLE_TEXT = "PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or HEIC"
# Libraries log some of what they also raise, and Python prints what no handler takes.
for _name in ("PIL", "pyvips"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
# Of what Pillow warns about only the size matters here, and that is looked at. Filters are of the
# process: changing them round each file would not do where several threads read.
warnings.filterwarnings("ignore", module=r"PIL\.")


def picture_kind(path: Path) -> str | None:
    """The format by content, None where Pillow has to find out; refuses what is never read.

    Raises `InputError` for what is no file, empty, or of a format that is refused by name.
    """
    _require_regular_file(path)
    try:
        kind = sniff(path)
    except OSError as error:
        raise unreadable(path, reason_of(error), "check the file's permissions") from None
    if kind in REFUSED:
        raise unreadable(path, f"{kind} is not read", REFUSED[kind])
    if kind == "HEIF":
        _register_heif(path)
    if kind == "AVIF" and not features.check("avif"):
        raise unreadable(path, "this build of Pillow has no AVIF", "convert it to PNG")
    return kind


@contextmanager
def opened(
    path: Path,
    kind: str | None = None,
    frame: int | None = None,
    source: Path | BinaryIO | None = None,
) -> Iterator[Image.Image]:
    """The picture behind `path`, or in `source`, its header read.

    `frame` counts from 0; None is the first. Refuses what Pillow takes for a decompression bomb.
    """
    try:
        image = Image.open(source or path, formats=_GUESSED if kind is None else (kind,))
        if frame and image.format != "GIF":  # whose frames `imageio.gif` makes
            image.seek(frame)
    except UnidentifiedImageError:
        raise _unidentified(path, kind) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large(path, int(Image.MAX_IMAGE_PIXELS or 0)) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged headers
        if isinstance(error, OSError) and error.errno is not None:
            remedy = "check the file's permissions"
            raise unreadable(path, reason_of(error), remedy) from None
        raise damaged(path, error) from None
    with image:
        require_size(path, Size.of_wh(image.size))
        yield image


def require_size(path: Path, size: Size, max_pixels: int | None = None) -> None:
    """`InputError` above so many pixels, or what Pillow takes for a decompression bomb."""
    if max_pixels is not None and size.area > max_pixels:
        raise too_large(path, max_pixels, f"it has {size} pixels")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size.area > limit:
        raise too_large(path, limit)


def _unidentified(path: Path, kind: str | None) -> InputError:
    if kind is None:
        reason = "it is not a picture, is damaged, or has a format coser does not read"
        return unreadable(path, reason, f"give a {_READABLE_TEXT} file")
    reason = f"this {kind} file is damaged, cut off, or of a kind that is not read"
    return unreadable(path, reason, "copy or download it again, or convert it to PNG")


def _register_heif(path: Path) -> None:
    """Teach Pillow HEIC, or say what is missing."""
    try:
        import pillow_heif
    except ImportError:
        remedy = "pip install 'coser-cli[heif]', or convert it to JPEG or PNG"
        raise unreadable(path, "HEIC needs a plug-in", remedy) from None
    pillow_heif.register_heif_opener(thumbnails=False)


def _require_regular_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise unreadable(path, "no such file", "check the name") from None
    except OSError as error:
        raise unreadable(path, reason_of(error), "check the path and its permissions") from None
    except ValueError as error:  # a NUL byte in the name
        raise unreadable(path, str(error), "check the name") from None
    if stat.S_ISDIR(status.st_mode):
        raise unreadable(path, "it is a folder", "name the pictures in it, as in FOLDER/*.jpg")
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(path, "it is not a regular file", "save the picture to a file first")
    if status.st_size == 0:
        raise unreadable(path, "the file is empty", "copy or download it again")


def unreadable(path: Path, reason: str, remedy: str) -> InputError:
    """The error for a file that is not read."""
    return InputError(f"cannot read {shown(path)}: {reason}", remedy)


def damaged(path: Path, error: Exception) -> InputError:
    """The error for a decoder that gave up."""
    detail = " ".join(str(error).split()) or type(error).__name__
    reason = f"the file is damaged or cut off ({detail})"
    return unreadable(path, reason, "copy or download it again")


def too_large(path: Path, limit: int, problem: str = "it has too many pixels") -> InputError:
    """The error for a picture above a limit of pixels."""
    reason = f"{problem}, the limit is {limit / 1e6:.1f} million"
    return unreadable(path, reason, "make it smaller, crop it, or use a smaller scale")
