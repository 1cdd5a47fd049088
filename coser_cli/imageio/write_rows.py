"""Rows → file: what `write_photo` writes, of pictures that are too large for memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from coser_cli.imageio.atomic import atomic_file
from coser_cli.imageio.encoding import DEFAULT, Encoding
from coser_cli.imageio.file_heads import jpeg_head, png_chunks, tiff_head
from coser_cli.imageio.formats import Format, format_of, require_streamable
from coser_cli.imageio.photo import FloatArray, Photo, Samples
from coser_cli.imageio.record import Record, beside
from coser_cli.imageio.vips_encode import encode
from coser_cli.imageio.write import (
    alpha_band,
    as_pillow_asks,
    described,
    is_wide,
    metadata,
    to_image,
    to_wide,
    told,
    writing,
)


def write_streamed(
    path: Path,
    size: tuple[int, int],
    bands: Iterable[FloatArray],
    source: Photo,
    encoding: Encoding = DEFAULT,
    record: Record | None = None,
) -> None:
    """Write a picture of `size` (width, height) that comes in bands of rows, from top to bottom.

    Each band is float `(3, rows, W)`, clipped to [0, 1]. File and errors are those of
    `write_photo`; bands are asked for as they are needed, and none is kept: but for WebP, whose
    encoder wants the whole picture. `InputError` also where the bands do not add up to `size`.
    """
    require_streamable(path, *size)
    row = format_of(path)
    source = described(source, encoding)
    kept = metadata(size, source, row, told(record, encoding))
    options = encoding.options(row) | as_pillow_asks(kept, row)
    samples = _samples(size, bands, source, row)
    with writing(path), atomic_file(path, beside(path, record, kept.get("xmp"))) as file:
        _WRITERS[row.name](file, size, samples, options)


def _samples(
    size: tuple[int, int], bands: Iterable[FloatArray], source: Photo, row: Format
) -> Iterator[Samples]:
    """The bands, rounded, with the channels and bits that the source and the format allow."""
    width, height = size
    top = 0
    for pixels in bands:
        bottom = top + pixels.shape[1]
        if pixels.shape[2] != width or bottom > height:
            raise ValueError(f"rows {top} to {bottom} of {pixels.shape[2]} do not fit into {size}")
        alpha = None
        if source.alpha is not None:
            alpha = alpha_band(source.alpha, size, (top, bottom))
        if is_wide(source, row):
            yield to_wide(pixels, source, alpha)
        else:
            values = np.asarray(to_image(pixels, source, row, alpha))
            yield values[..., None] if values.ndim == 2 else values
        top = bottom
    if top != height:
        raise ValueError(f"{top} rows were given of {height}")


def _write_png(
    file: BinaryIO, size: tuple[int, int], samples: Iterator[Samples], options: dict[str, Any]
) -> None:
    first, samples = _first(samples)
    encode(file, "png", png_chunks(_mode(first), options), size, samples, {"compression": 6})


def _write_jpeg(
    file: BinaryIO, size: tuple[int, int], samples: Iterator[Samples], options: dict[str, Any]
) -> None:
    first, samples = _first(samples)
    half = options["subsampling"] in (2, "4:2:0")
    how = {"Q": options["quality"], "subsample_mode": "on" if half else "off"}
    encode(file, "jpeg", jpeg_head(_mode(first), options), size, samples, how)


def _write_tiff(
    file: BinaryIO, size: tuple[int, int], samples: Iterator[Samples], options: dict[str, Any]
) -> None:
    """Not compressed, as `write_photo`'s: rows follow the directory as they are."""
    first, samples = _first(samples)
    file.write(tiff_head(_mode(first), first.dtype.itemsize * 8, size, options))
    for band in samples:
        file.write(band.astype(band.dtype.newbyteorder("<")).tobytes())


def _write_webp(
    file: BinaryIO, size: tuple[int, int], samples: Iterator[Samples], options: dict[str, Any]
) -> None:
    """Collected: libwebp encodes from a whole picture."""
    first, samples = _first(samples)
    whole = Image.new(_mode(first), size)
    top = 0
    for band in samples:
        whole.paste(Image.fromarray(band[..., 0] if band.shape[2] == 1 else band), (0, top))
        top += band.shape[0]
    whole.save(file, format="WEBP", **options)


_WRITERS = {"PNG": _write_png, "JPEG": _write_jpeg, "TIFF": _write_tiff, "WEBP": _write_webp}


def _first(samples: Iterator[Samples]) -> tuple[Samples, Iterator[Samples]]:
    """The first band, and all of them."""
    first = next(samples)
    return first, chain([first], samples)


def _mode(samples: Samples) -> str:
    """Pillow's name for the channels."""
    return {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
