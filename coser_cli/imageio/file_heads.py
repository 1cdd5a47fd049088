"""What stands before the pixels of a file that is written row by row: made by Pillow, as when it
writes the whole, so that both say the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_CLASSIC = b"II\x2a\x00\x08\x00\x00\x00"
_BIG = b"II\x2b\x00\x08\x00\x00\x00" + (16).to_bytes(8, "little")
_CLASSIC_LIMIT = 2**32 - 2**20
"""Bytes that a classic TIFF can address, less some for its directory."""
_STRIP_BYTES = 2**20
_PHOTOMETRIC = {"L": 1, "LA": 1, "RGB": 2, "RGBA": 2}
_UNASSOCIATED_ALPHA = 2
# tags by their names in the standard
_TAGS = {info.name: tag for tag, info in TiffTags.TAGS_V2.items()}


def jpeg_head(mode: str, options: dict[str, Any]) -> bytes:
    """Start of image and the segments that carry metadata (APP0, APP1, APP2)."""
    data = _sample("JPEG", mode, options)
    end = 2
    while data[end] == 0xFF and 0xE0 <= data[end + 1] <= 0xEF:
        end += 2 + int.from_bytes(data[end + 2 : end + 4], "big")
    return data[:end]


def png_chunks(mode: str, options: dict[str, Any]) -> bytes:
    """The chunks between the header and the pixels."""
    data = _sample("PNG", mode, options)
    return b"".join(
        chunk for kind, chunk in chunks_of_png(data) if kind not in (b"IHDR", b"IDAT", b"IEND")
    )


def chunks_of_png(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and whole of each complete chunk of a PNG file."""
    start = 8
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            return
        yield data[start + 4 : start + 8], data[start:end]
        start = end


def tiff_head(mode: str, depth: int, size: tuple[int, int], options: dict[str, Any]) -> bytes:
    """Header and directory of a TIFF of `size` (width, height), not compressed, whose rows follow.

    `mode` is Pillow's name for the channels, of `depth` bits each; `options` are those of Pillow's
    `save`. A BigTIFF where 4 GiB do not suffice.
    """
    width, height = size
    bits = (depth,) * len(mode)
    stride = width * sum(bits) // 8
    big = stride * height > _CLASSIC_LIMIT
    tags = ImageFileDirectory_v2(_BIG if big else _CLASSIC)
    _describe(tags, options)
    tags[_TAGS["ImageWidth"]], tags[_TAGS["ImageLength"]] = width, height
    tags[_TAGS["BitsPerSample"]] = bits
    tags[_TAGS["SamplesPerPixel"]] = len(bits)
    tags[_TAGS["PhotometricInterpretation"]] = _PHOTOMETRIC[mode]
    tags[_TAGS["Compression"]] = tags[_TAGS["PlanarConfiguration"]] = 1
    if mode in ("LA", "RGBA"):
        tags[_TAGS["ExtraSamples"]] = _UNASSOCIATED_ALPHA
    _place_strips(tags, stride, height, TiffTags.LONG8 if big else TiffTags.LONG)
    head = io.BytesIO()
    tags.save(head)
    return head.getvalue()


def _describe(tags: ImageFileDirectory_v2, options: dict[str, Any]) -> None:
    exif = options.get("exif", b"")
    if not isinstance(exif, Image.Exif):
        data, exif = exif, Image.Exif()
        exif.load(data)
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else exif[tag]
    if "icc_profile" in options:
        tags[_TAGS["ICCProfile"]] = options["icc_profile"]
    if "dpi" in options:
        tags[_TAGS["XResolution"]], tags[_TAGS["YResolution"]] = options["dpi"]
        tags[_TAGS["ResolutionUnit"]] = 2  # inch


def _place_strips(tags: ImageFileDirectory_v2, stride: int, height: int, kind: int) -> None:
    """Strips one after the other; Pillow counts them from the end of the directory."""
    rows = max(1, min(height, _STRIP_BYTES // stride))
    starts = range(0, height, rows)
    offsets, counts = _TAGS["StripOffsets"], _TAGS["StripByteCounts"]
    tags[_TAGS["RowsPerStrip"]] = rows
    tags.tagtype[offsets] = tags.tagtype[counts] = kind
    tags[offsets] = tuple(start * stride for start in starts)
    tags[counts] = tuple(stride * min(rows, height - start) for start in starts)


def _sample(format_name: str, mode: str, options: dict[str, Any]) -> bytes:
    """A file of a single pixel with everything that is said beside pixels."""
    file = io.BytesIO()
    Image.new(mode, (1, 1)).save(file, format=format_name, **options)
    return file.getvalue()
