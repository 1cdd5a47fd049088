"""Rows → TIFF, not compressed: they follow the directory as they are.

EXIF stands at the start of the file as it is, its first directory replaced by the file's own, so
that every offset in it, also in a maker note, still leads where it led. Only a BigTIFF, whose
directories have another form, gets them rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import BinaryIO

from coser_cli.imageio import ifd
from coser_cli.imageio.exif import directories_of, main_directory_of
from coser_cli.imageio.ifd import Directory, Layout, Value
from coser_cli.imageio.keep import Kept, tiff_iptc
from coser_cli.imageio.photo import Samples
from coser_cli.size import Size

_CLASSIC_LIMIT = 2**32 - 2**20
"""Bytes that a classic TIFF can address, less some for its directory."""
_STRIP_BYTES = 2**20
_BLACK_IS_ZERO, _RGB, _STRAIGHT_ALPHA, _INCH = 1, 2, 2, 2
# What of EXIF's first directory describes a file and no photograph, or is written here.
_STRUCTURE = frozenset(
    (
        *(254, 255, *range(256, 269), 273, 274, *range(277, 285), *range(288, 294), 296, 301),
        *(*range(317, 348), *range(512, 522), *range(529, 533), 700, 33723, 34377, 34675),
    )
)


def write_tiff(file: BinaryIO, size: Size, bands: Iterable[Samples], kept: Kept) -> None:
    """Write bands `(rows, W, C)`, uint8 or uint16, of a picture of `size`."""
    layout: Layout | None = None
    for band in bands:
        if layout is None:
            channels, bits = band.shape[2], band.itemsize * 8
            head, layout = tiff_head(channels, bits, size, kept)
            file.write(head)
        file.write(band.astype(band.dtype.newbyteorder(layout.order), copy=False).tobytes())


def tiff_head(channels: int, bits: int, size: Size, kept: Kept) -> tuple[bytes, Layout]:
    """All that stands before the rows, and the layout. A BigTIFF where 4 GiB do not suffice."""
    stride = size.width * channels * bits // 8
    big = stride * size.height > _CLASSIC_LIMIT
    described, layout = _described(kept.exif, big)
    start = _start(kept.exif, layout)
    directory = {
        **{tag: value for tag, value in described.items() if tag not in _STRUCTURE},
        **_structure(channels, bits, size, layout),
        **_descriptive_tags(kept, layout),
    }
    first = 0
    for _ in range(2):  # the length is known when it has been packed once
        directory |= _strips(stride, size.height, layout, first)
        packed = ifd.pack(directory, len(start), layout)
        first = len(start) + len(packed)
    return start + packed, layout


def _described(exif: bytes | None, big: bool) -> tuple[Directory, Layout]:
    if exif is None:
        return {}, Layout("<", big)
    if not big:
        return main_directory_of(exif)
    directory, layout = directories_of(exif)
    # Pillow does not read BigTIFF of the other order
    return directory if layout.order == "<" else ifd.swapped(directory), Layout("<", big=True)


def _start(exif: bytes | None, layout: Layout) -> bytes:
    """Header, which leads to the directory behind it, and EXIF."""
    mark = b"II" if layout.order == "<" else b"MM"
    if layout.big:
        magic, eight, none = (ifd.shorts(layout, value)[2] for value in (43, 8, 0))
        return mark + magic + eight + none + layout.offset(16)
    block = (exif or b"\0" * 8)[8:]
    block += b"\0" * (len(block) % 2)
    return mark + ifd.shorts(layout, 42)[2] + layout.offset(8 + len(block)) + block


def _structure(
    channels: int, bits: int, size: Size, layout: Layout
) -> dict[int, Value | Directory]:
    tags: dict[int, Value | Directory] = {
        256: ifd.longs(Layout(layout.order), size.width),
        257: ifd.longs(Layout(layout.order), size.height),
        258: ifd.shorts(layout, *(bits,) * channels),
        259: ifd.shorts(layout, 1),
        262: ifd.shorts(layout, _BLACK_IS_ZERO if channels < 3 else _RGB),
        274: ifd.shorts(layout, 1),
        277: ifd.shorts(layout, channels),
        284: ifd.shorts(layout, 1),
    }
    if channels in (2, 4):
        tags[338] = ifd.shorts(layout, _STRAIGHT_ALPHA)
    return tags


def _descriptive_tags(kept: Kept, layout: Layout) -> Mapping[int, Value | Directory]:
    iptc, resources = tiff_iptc(kept)
    values = {700: kept.xmp, 33723: iptc, 34377: resources, 34675: kept.icc}
    tags: dict[int, Value | Directory] = {
        tag: (ifd.BYTE if tag in (700, 34377) else ifd.UNDEFINED, len(value), value)
        for tag, value in values.items()
        if value
    }
    if kept.dpi:
        tags[282], tags[283] = (ifd.rational(layout, value) for value in kept.dpi)
        tags[296] = ifd.shorts(layout, _INCH)
    return tags


def _strips(stride: int, height: int, layout: Layout, first: int) -> dict[int, Value | Directory]:
    """Strips one after the other, from offset `first` on."""
    rows = max(1, min(height, _STRIP_BYTES // stride))
    starts = range(0, height, rows)
    counts = [stride * min(rows, height - start) for start in starts]
    return {
        273: ifd.longs(layout, *(first + start * stride for start in starts)),
        278: ifd.longs(Layout(layout.order), rows),
        279: ifd.longs(layout, *counts),
    }
