"""Rows → file: what `write_photo` writes, of pictures that are too large for memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from coser_cli.imageio.encode import encode
from coser_cli.imageio.formats import Format, format_of, require_streamable
from coser_cli.imageio.heads import jpeg_head, png_chunks, tiff_head
from coser_cli.imageio.photo import FloatArray, Photo, Samples
from coser_cli.imageio.write import alpha_band, atomic_file, metadata, to_image, writing


def write_streamed(
    path: Path, size: tuple[int, int], bands: Iterable[FloatArray], source: Photo
) -> None:
    """Write a picture of `size` (width, height) that comes in bands of rows, from top to bottom.

    Each band is float `(3, rows, W)`, clipped to [0, 1]. File and errors are those of
    `write_photo`; bands are asked for as they are needed, and none is kept: but for WebP, whose
    encoder wants the whole picture. `InputError` also where the bands do not add up to `size`.
    """
    require_streamable(path, *size)
    row = format_of(path)
    options = row.options | metadata(size, source, row)
    images = _images(size, bands, source, row)
    with writing(path), atomic_file(path) as file:
        _WRITERS[row.name](file, size, images, options)


def _images(
    size: tuple[int, int], bands: Iterable[FloatArray], source: Photo, row: Format
) -> Iterator[Image.Image]:
    """The bands, rounded, in the mode that the source and the format allow."""
    width, height = size
    top = 0
    for pixels in bands:
        bottom = top + pixels.shape[1]
        if pixels.shape[2] != width or bottom > height:
            raise ValueError(f"rows {top} to {bottom} of {pixels.shape[2]} do not fit into {size}")
        alpha = None
        if source.alpha is not None:
            alpha = alpha_band(source.alpha, size, (top, bottom))
        yield to_image(pixels, source, row, alpha)
        top = bottom
    if top != height:
        raise ValueError(f"{top} rows were given of {height}")


def _write_png(
    file: BinaryIO, size: tuple[int, int], images: Iterator[Image.Image], options: dict[str, Any]
) -> None:
    mode, images = _mode(images)
    encode(file, "png", png_chunks(mode, options), size, map(_samples, images))


def _write_jpeg(
    file: BinaryIO, size: tuple[int, int], images: Iterator[Image.Image], options: dict[str, Any]
) -> None:
    mode, images = _mode(images)
    encode(file, "jpeg", jpeg_head(mode, options), size, map(_samples, images))


def _write_tiff(
    file: BinaryIO, size: tuple[int, int], images: Iterator[Image.Image], options: dict[str, Any]
) -> None:
    """Not compressed, as `write_photo`'s: rows follow the directory as they are."""
    mode, images = _mode(images)
    file.write(tiff_head(mode, size, options))
    for image in images:
        samples = _samples(image)
        file.write(samples.astype(samples.dtype.newbyteorder("<")).tobytes())


def _write_webp(
    file: BinaryIO, size: tuple[int, int], images: Iterator[Image.Image], options: dict[str, Any]
) -> None:
    """Collected: libwebp encodes from a whole picture."""
    mode, images = _mode(images)
    whole = Image.new(mode, size)
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    whole.save(file, format="WEBP", **options)


_WRITERS = {"PNG": _write_png, "JPEG": _write_jpeg, "TIFF": _write_tiff, "WEBP": _write_webp}


def _mode(images: Iterator[Image.Image]) -> tuple[str, Iterator[Image.Image]]:
    """The mode of all images, and the images."""
    first = next(images)

    def all_of_them() -> Iterator[Image.Image]:
        yield first
        yield from images

    return first.mode, all_of_them()


def _samples(image: Image.Image) -> Samples:
    values = np.asarray(image)
    return values[..., None] if values.ndim == 2 else values
