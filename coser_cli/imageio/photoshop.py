"""Photoshop's image resources, in which JPEG and TIFF files have IPTC.

Of Adobe's "Photoshop File Formats Specification", section "Image Resources".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

IPTC = 0x0404
# What a photographer writes, and clipping paths, which are in fractions of the picture. The others
# are about the old pixels (thumbnails, guides, slices) or have a place of their own (EXIF, XMP).
_KEPT = {IPTC, 0x0425, 0x040A, 0x040B, 0x0BB7, *range(0x07D0, 0x0BB7)}


def resources(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, name and data of each; as far as they can be followed."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        number, size = struct.unpack_from(">HB", data, at + 4)
        name = data[at + 7 : at + 7 + size]
        at += 6 + size + 1 + (size + 1) % 2
        (length,) = struct.unpack(">I", data[at : at + 4].rjust(4, b"\0"))
        if at + 4 + length > len(data):
            return
        yield number, name, data[at + 4 : at + 4 + length]
        at += 4 + length + length % 2


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    """One resource, packed."""
    pascal = (bytes((len(name),)) + name).ljust((len(name) + 2) // 2 * 2, b"\0")
    even = data + b"\0" * (len(data) % 2)
    return b"8BIM" + struct.pack(">H", number) + pascal + struct.pack(">I", len(data)) + even


def kept(data: bytes) -> bytes | None:
    """The resources that an enlarged picture keeps; None for none."""
    return (
        b"".join(
            resource(number, value, name)
            for number, name, value in resources(data)
            if number in _KEPT and value
        )
        or None
    )


def iptc_of(data: bytes | None) -> bytes | None:
    """The records of IPTC among resources."""
    return next((value for number, _, value in resources(data or b"") if number == IPTC), None)


def without_iptc(data: bytes) -> bytes:
    """The other resources."""
    parts = (
        resource(number, value, name) for number, name, value in resources(data) if number != IPTC
    )
    return b"".join(parts)
