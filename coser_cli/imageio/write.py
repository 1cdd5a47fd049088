"""Pixels → file: rounded, with the source's metadata, atomic; whole, or row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from coser_cli.errors import InputError, reason_of, shown
from coser_cli.imageio.atomic import atomic_file
from coser_cli.imageio.encode_rows import encode_rows
from coser_cli.imageio.encoding import DEFAULT, Encoding
from coser_cli.imageio.exif import without_orientation
from coser_cli.imageio.formats import Format, format_of, require_streamable
from coser_cli.imageio.keep import Kept, jpeg_head, kept_of, lost_words, png_head
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import FloatArray, Photo, Samples
from coser_cli.imageio.record import Record, completion
from coser_cli.imageio.samples import alpha_band, samples_of
from coser_cli.imageio.write_tiff import write_tiff
from coser_cli.size import Size

_BAND = 256
"""Rows of a whole picture that are converted at once."""


def write_photo(
    path: str | Path,
    pixels: FloatArray,
    source: Photo | None = None,
    encoding: Encoding = DEFAULT,
    record: Record | None = None,
) -> None:
    """Write `pixels` (float `(3, H, W)`, clipped to [0, 1]) in the format of the extension.

    From `source` come alpha (enlarged by Lanczos), colour profile, metadata, and whether the file
    is grey or has 16 bits; `encoding` says how it is packed. `record` goes with it, in its XMP or
    beside it. The file appears complete or not at all.
    Raises `InputError` (disk, permission) or `UsageError` (unknown extension).
    """
    size = Size.of(pixels)
    bands = (pixels[:, top : top + _BAND] for top in range(0, size.height, _BAND))
    _write(Path(path), size, bands, source or Photo(pixels), encoding, record)


def write_streamed(
    path: Path,
    size: Size,
    bands: Iterable[FloatArray],
    source: Photo,
    encoding: Encoding = DEFAULT,
    record: Record | None = None,
) -> None:
    """Write a picture of `size` that comes in bands of rows, from top to bottom.

    Each band is float `(3, rows, W)`, clipped to [0, 1]. File and errors are those of
    `write_photo`; bands are asked for as they are needed, and none is kept: but for WebP, whose
    encoder wants the whole picture. `InputError` also where the bands do not add up to `size`.
    """
    require_streamable(path, size)
    _write(path, size, bands, source, encoding, record)


def lost_in(path: Path, source: Photo, encoding: Encoding = DEFAULT) -> tuple[str, ...]:
    """A note about metadata of the source that the format of `path` cannot hold; none for none."""
    return lost_words(_described(source, encoding), format_of(path))


def _write(
    path: Path,
    size: Size,
    bands: Iterable[FloatArray],
    source: Photo,
    encoding: Encoding,
    record: Record | None,
) -> None:
    row = format_of(path)
    source = _described(source, encoding)
    kept = kept_of(source, size, row, None if encoding.strip_metadata else record)
    samples = _samples(size, bands, source, row)
    with writing(path), atomic_file(path, completion(path, record, kept.xmp)) as file:
        first = next(samples)
        _encode(file, size, chain([first], samples), kept, row, encoding.options(row))


def _described(source: Photo, encoding: Encoding) -> Photo:
    """The source with what is to be said of it in a file."""
    return replace(source, metadata=Metadata()) if encoding.strip_metadata else source


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into an `InputError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        remedy = "check the folder, its permissions and the free space"
        raise InputError(f"cannot write {shown(path)}: {reason}", remedy) from error


def _samples(
    size: Size, bands: Iterable[FloatArray], source: Photo, row: Format
) -> Iterator[Samples]:
    """The bands as values of the file."""
    top = 0
    for pixels in bands:
        bottom = top + pixels.shape[1]
        if pixels.shape[2] != size.width or bottom > size.height:
            raise ValueError(f"rows {top} to {bottom} of {pixels.shape[2]} do not fit into {size}")
        alpha = None
        if source.alpha is not None:
            alpha = alpha_band(source.alpha, size, (top, bottom))
        yield samples_of(pixels, source, row, alpha)
        top = bottom
    if top != size.height:
        raise ValueError(f"{top} rows were given of {size.height}")


def _encode(
    file: BinaryIO,
    size: Size,
    samples: Iterator[Samples],
    kept: Kept,
    row: Format,
    options: dict[str, Any],
) -> None:
    """As the format wants it."""
    if row.name == "PNG":
        how: dict[str, Any] = {"compression": 6, "filter": "all"}
        encode_rows(file, "png", png_head(kept), size, samples, how)
    elif row.name == "JPEG":
        half = options["subsampling"] in (2, "4:2:0")
        how = {"Q": options["quality"], "subsample_mode": "on" if half else "off"}
        encode_rows(file, "jpeg", jpeg_head(kept), size, samples, how)
    elif row.name == "TIFF":
        write_tiff(file, size, samples, kept)
    else:
        _write_collected(file, size, samples, kept, options | {"format": row.name})


def _write_collected(
    file: BinaryIO,
    size: Size,
    samples: Iterator[Samples],
    kept: Kept,
    options: dict[str, Any],
) -> None:
    """By Pillow, from the whole picture."""
    first = next(samples)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[first.shape[2]]
    whole = Image.new(mode, size.wh)
    top = 0
    for band in chain([first], samples):
        whole.paste(Image.fromarray(band[..., 0] if band.shape[2] == 1 else band), (0, top))
        top += band.shape[0]
    exif = kept.exif
    if exif and options["format"] == "AVIF":
        exif = without_orientation(exif)  # Pillow would parse it for that, and write it anew
    extra = {"exif": exif, "xmp": kept.xmp, "icc_profile": kept.icc, "dpi": kept.dpi}
    options = options | {key: value for key, value in extra.items() if value}
    whole.save(file, **options)
