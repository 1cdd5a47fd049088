"""File → Photo: by content and not by name; upright, in sRGB, float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coser_cli.errors import CoserError
from coser_cli.imageio.color import to_photo
from coser_cli.imageio.decode import Animations, decode
from coser_cli.imageio.decoded import Decoded
from coser_cli.imageio.header import OpenedFile, opened_file
from coser_cli.imageio.opening import damaged, require_size
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.tiff import NotReadError
from coser_cli.imageio.transparency import fill_transparent

_MORE_FRAMES = "only the first frame or page is used (--all-frames takes all)"


def read_photo(
    path: str | Path,
    max_pixels: int | None = None,
    frame: int | None = None,
    animations: Animations | None = None,
) -> Photo:
    """Decode a picture file: PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF, or HEIC with its plug-in.

    `frame` counts the frames of an animation or the pages of a TIFF from 0; None is the first, and
    says so in `notes` where there are more. `max_pixels` refuses larger pictures from the header
    alone, beside Pillow's own guard against decompression bombs. With `animations`, kept from call
    to call, frames that are asked for in order are composed once each. Raises `InputError` that
    names the file, the reason and the remedy.
    """
    path = Path(path)
    with opened_file(path, frame) as file:
        require_size(path, file.header.stored, max_pixels)
        decoded = decoded_file(path, file, frame, animations)
    info, alpha = file.header.info, decoded.alpha
    photo = to_photo(decoded, info.icc, is_made=info.is_made)
    more = (_MORE_FRAMES,) if frame is None and file.header.frames > 1 else ()
    return replace(
        photo,
        pixels=photo.pixels if alpha is None else fill_transparent(photo.pixels, alpha),
        alpha=alpha,
        metadata=info.metadata,
        notes=(*more, *info.notes, *decoded.notes, *photo.notes),
    )


def decoded_file(
    path: Path, file: OpenedFile, frame: int | None, animations: Animations | None = None
) -> Decoded:
    """`decode`, whose decoders raise anything on damaged data: raises `InputError` for that."""
    try:
        return decode(path, file, frame, animations)
    except (CoserError, MemoryError, NotReadError):
        raise
    except Exception as error:
        raise damaged(path, error) from None
