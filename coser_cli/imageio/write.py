"""Pixels → file: rounded, with the source's metadata, atomic."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from coser_cli.errors import InputError, shown
from coser_cli.imageio.color import from_srgb
from coser_cli.imageio.formats import Format, format_of
from coser_cli.imageio.metadata import exif_for_size
from coser_cli.imageio.photo import FloatArray, Photo

# EXIF lies in one JPEG segment: 2 length bytes and 65,533 of content, 6 of them "Exif\0\0".
_JPEG_EXIF_LIMIT = 65533
_LANCZOS_SUPPORT = 3
_part_numbers = itertools.count()


def write_photo(path: Path, pixels: FloatArray, source: Photo | None = None) -> None:
    """Write `pixels` (float `(3, H, W)`, clipped to [0, 1]) in the format of the extension.

    From `source` come alpha (enlarged by Lanczos), colour profile, EXIF, resolution, and whether
    the file is grey or has 16 bits. The file appears complete or not at all.
    Raises `InputError` (disk, permission) or `UsageError` (unknown extension).
    """
    row = format_of(path)
    source = source or Photo(pixels)
    size = pixels.shape[2], pixels.shape[1]
    alpha = None if source.alpha is None else alpha_band(source.alpha, size, (0, size[1]))
    image = to_image(pixels, source, row, alpha)
    options = row.options | metadata(size, source, row)
    with writing(path), atomic_file(path) as file:
        image.save(file, format=row.name, **options)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into an `InputError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        remedy = "check the folder, its permissions and the free space"
        raise InputError(f"cannot write {shown(path)}: {reason}", remedy) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well, and leaves no trace otherwise.

    Its short name does not grow with the target's, which may already have the longest length.
    """
    part = path.parent / f".coser-{os.getpid()}-{next(_part_numbers)}.part"
    # os.open gives 0666 & ~umask by itself; tempfile would give 0600.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags, 0o666)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def to_image(
    pixels: FloatArray, source: Photo, row: Format, alpha: FloatArray | None
) -> Image.Image:
    """Rounded picture in the mode that the source and the format allow.

    `pixels` `(3, H, W)` and `alpha` `(H, W)` are of the result, or of a band of its rows.
    """
    if source.grey and source.bit_depth == 16 and row.sixteen_bits:
        return Image.fromarray(_rounded(_luma(pixels), 65535).astype(np.uint16))
    image = Image.fromarray(_rounded(pixels, 255).astype(np.uint8).transpose(1, 2, 0), "RGB")
    if source.convert and source.icc and row.icc:
        image = from_srgb(image, source.icc)
    elif source.grey:
        image = Image.fromarray(_rounded(_luma(pixels), 255).astype(np.uint8), "L")
    return image if alpha is None else _with_alpha(image, alpha, row)


def alpha_band(alpha: FloatArray, size: tuple[int, int], rows: tuple[int, int]) -> FloatArray:
    """Rows (first, one past the last) of alpha `(h, w)` enlarged by Lanczos to `size` (width,
    height).
    """
    height, width = alpha.shape
    scale = height / size[1]
    reach = math.ceil(_LANCZOS_SUPPORT * max(scale, 1)) + 1
    top, bottom = (row * height / size[1] for row in rows)
    first, last = max(0, math.floor(top) - reach), min(height, math.ceil(bottom) + reach)
    image = Image.fromarray(alpha[first:last])
    box = (0, top - first, width, min(bottom, last) - first)
    target = size[0], rows[1] - rows[0]
    return np.asarray(image.resize(target, Image.Resampling.LANCZOS, box=box))


def metadata(size: tuple[int, int], source: Photo, row: Format) -> dict[str, Any]:
    """Arguments of Pillow's `save` for what the format can hold; `size` is (width, height)."""
    options: dict[str, Any] = {}
    exif = exif_for_size(source.exif, *size) if row.exif else None
    if exif and not (row.name == "JPEG" and len(exif) > _JPEG_EXIF_LIMIT):
        options["exif"] = exif
    if source.icc and row.icc:
        options["icc_profile"] = source.icc
    if source.dpi:
        options["dpi"] = source.dpi
    return options


def _with_alpha(image: Image.Image, alpha: FloatArray, row: Format) -> Image.Image:
    """The picture with its alpha, or on white where the format has none."""
    mask = Image.fromarray(_rounded(alpha, 255).astype(np.uint8), "L")
    if row.alpha:
        image.putalpha(mask)
        return image
    white = Image.new(image.mode, image.size, "white")
    return Image.composite(image, white, mask)


def _luma(pixels: FloatArray) -> FloatArray:
    """Rec. 601 luma, as Pillow's own conversion to grey."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.tensordot(weights, pixels, axes=1).astype(np.float32)


def _rounded(values: FloatArray, top: int) -> FloatArray:
    """Clipped to [0, 1] and rounded (not truncated) to 0 … top."""
    return np.rint(np.clip(values, 0.0, 1.0) * top)
