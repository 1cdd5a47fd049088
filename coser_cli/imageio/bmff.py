"""What AVIF and HEIC files say about colour and bits, in the boxes of their items.

Of ISO/IEC 14496-12 (boxes), 23008-12 (item properties) and AV1-ISOBMFF (`av1C`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LARGEST_META = 2**24
_FULL_BOX = 4


@dataclass(frozen=True)
class ItemProperties:
    """`code_points`: primaries and transfer of H.273. `bits` per sample."""

    code_points: tuple[int, int] | None = None
    bits: int = 8


def read_item_properties(path: Path) -> ItemProperties:
    """Of the first items that have any; defaults where the boxes cannot be followed."""
    points, bits = None, 8
    try:
        for kind, data in _boxes(_meta(path)[_FULL_BOX:]):
            if kind != b"iprp":
                continue
            for name, container in _boxes(data):
                for prop, value in _boxes(container) if name == b"ipco" else ():
                    if prop == b"colr" and value[:4] == b"nclx" and points is None:
                        points = struct.unpack_from(">HH", value, 4)
                    elif prop == b"av1C" and value[2] & 0x40:
                        bits = max(bits, 12 if value[2] & 0x20 else 10)
    except (struct.error, IndexError):
        pass
    return ItemProperties(points, bits)


def _meta(path: Path) -> bytes:
    """Content of the file's meta box."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            extra = 8
            if size == 1:
                (size,) = struct.unpack(">Q", file.read(8))
                extra = 16
            if size < extra:
                break
            if kind == b"meta":
                return file.read(min(size - extra, _LARGEST_META))
            file.seek(size - extra, 1)
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size
