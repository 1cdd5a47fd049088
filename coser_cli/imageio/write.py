"""Pixels → file: rounded, with the source's metadata, atomic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from coser_cli.errors import InputError, shown
from coser_cli.imageio.atomic import atomic_file
from coser_cli.imageio.color import from_srgb, profile_space
from coser_cli.imageio.encoding import DEFAULT, Encoding
from coser_cli.imageio.formats import Format, format_of
from coser_cli.imageio.metadata import exif_for_size, xmp_for_size
from coser_cli.imageio.photo import FloatArray, Photo
from coser_cli.imageio.record import Record, beside, with_record
from coser_cli.imageio.sixteen_bit import WideArray, wide_from_srgb, write_wide

# EXIF lies in one JPEG segment: 2 length bytes and 65,533 of content, 6 of them "Exif\0\0".
_JPEG_EXIF_LIMIT = 65533
# So does XMP, after the 29 bytes of its name.
_JPEG_XMP_LIMIT = 65533 - 29
_LANCZOS_SUPPORT = 3


def write_photo(
    path: str | Path,
    pixels: FloatArray,
    source: Photo | None = None,
    encoding: Encoding = DEFAULT,
    record: Record | None = None,
) -> None:
    """Write `pixels` (float `(3, H, W)`, clipped to [0, 1]) in the format of the extension.

    From `source` come alpha (enlarged by Lanczos), colour profile, EXIF, XMP, resolution, and
    whether the file is grey or has 16 bits; `encoding` says how it is packed. `record` goes with
    it, in its XMP or beside it. The file appears complete or not at all.
    Raises `InputError` (disk, permission) or `UsageError` (unknown extension).
    """
    path = Path(path)
    row = format_of(path)
    source = described(source or Photo(pixels), encoding)
    size = pixels.shape[2], pixels.shape[1]
    alpha = None if source.alpha is None else alpha_band(source.alpha, size, (0, size[1]))
    options, kept = encoding.options(row), metadata(size, source, row, told(record, encoding))
    wide = is_wide(source, row)
    image = None if wide else to_image(pixels, source, row, alpha)
    with writing(path), atomic_file(path, beside(path, record, kept.get("xmp"))) as file:
        if image is None:
            write_wide(file, to_wide(pixels, source, alpha), row.name, kept)
        else:
            image.save(file, format=row.name, **options, **as_pillow_asks(kept, row))


def described(source: Photo, encoding: Encoding) -> Photo:
    """The source with what is to be said of it in a file."""
    return replace(source, exif=None, xmp=None, dpi=None) if encoding.strip_metadata else source


def told(record: Record | None, encoding: Encoding) -> Record | None:
    """The record, where it may stand in the file itself."""
    return None if encoding.strip_metadata else record


def is_wide(source: Photo, row: Format) -> bool:
    """Whether the file gets 16 bits."""
    return source.bit_depth == 16 and row.sixteen_bits


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into an `InputError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        remedy = "check the folder, its permissions and the free space"
        raise InputError(f"cannot write {shown(path)}: {reason}", remedy) from error


def to_image(
    pixels: FloatArray, source: Photo, row: Format, alpha: FloatArray | None
) -> Image.Image:
    """Rounded picture in the mode that the source and the format allow.

    `pixels` `(3, H, W)` and `alpha` `(H, W)` are of the result, or of a band of its rows.
    """
    image = Image.fromarray(_rounded(pixels, 255).astype(np.uint8).transpose(1, 2, 0), "RGB")
    if source.convert and source.icc and row.icc:
        image = from_srgb(image, source.icc)
    elif source.grey:
        image = Image.fromarray(_rounded(_luma(pixels), 255).astype(np.uint8), "L")
    return image if alpha is None else _with_alpha(image, alpha, row)


def to_wide(pixels: FloatArray, source: Photo, alpha: FloatArray | None) -> WideArray:
    """The same with 16 bits, `(H, W, C)`: grey or RGB, with alpha where there is one."""
    colours = _luma(pixels)[None] if source.grey else pixels
    values = _rounded(colours, 65535).astype(np.uint16).transpose(1, 2, 0)
    if source.convert and source.icc:
        values = wide_from_srgb(values, source.icc)
    if alpha is None:
        return values
    mask = _rounded(alpha, 65535).astype(np.uint16)[..., None]
    return np.concatenate([values, mask], axis=-1)


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


def metadata(
    size: tuple[int, int], source: Photo, row: Format, record: Record | None = None
) -> dict[str, Any]:
    """What the format can hold beside pixels: `exif`, `xmp` with `record` in it, `icc_profile` and
    `dpi`; `size` is (width, height).
    """
    kept: dict[str, Any] = {}
    exif = exif_for_size(source.exif, *size) if row.exif else None
    if exif and not (row.name == "JPEG" and len(exif) > _JPEG_EXIF_LIMIT):
        kept["exif"] = exif
    limit = _JPEG_XMP_LIMIT if row.name == "JPEG" else None
    xmp = with_record(xmp_for_size(source.xmp, *size), record, limit) if row.exif else None
    if xmp:
        kept["xmp"] = xmp
    # A grey profile fits a coloured file (the reference of a grey picture) as little as none.
    fits = source.grey or source.convert or profile_space(source.icc) != "GRAY"
    if source.icc and row.icc and fits:
        kept["icc_profile"] = source.icc
    if source.dpi:
        kept["dpi"] = source.dpi
    return kept


def as_pillow_asks(kept: dict[str, Any], row: Format) -> dict[str, Any]:
    """The same as arguments of Pillow's `save`, whose PNG and TIFF take XMP in their own ways."""
    xmp = kept.get("xmp")
    if xmp is None or row.name not in ("PNG", "TIFF"):
        return kept
    options = {key: value for key, value in kept.items() if key != "xmp"}
    if row.name == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return options | {"pnginfo": text}
    tags = Image.Exif()
    if "exif" in kept:
        tags.load(kept["exif"])
    tags[ExifTags.Base.XMLPacket] = xmp
    return options | {"exif": tags}


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
