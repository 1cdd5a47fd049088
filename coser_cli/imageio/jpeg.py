"""JPEG files segment by segment: what they say beside their pixels.

Of the JPEG standard (ITU T.81, annex B), JFIF 1.02, EXIF 2.3 and XMP part 3.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from coser_cli.imageio.xmp import merged, usable_xmp
from coser_cli.size import Size

LIMIT = 65533
"""Bytes of content of a segment."""
_EOI, _SOS, COM = 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP13 = 0xE0, 0xE1, 0xE2, 0xED
_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
EXIF, ICC = b"Exif\0\0", b"ICC_PROFILE\0"
XMP, MORE_XMP = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
XMP_LIMIT = LIMIT - len(XMP)
EXIF_LIMIT = LIMIT - len(EXIF)


@dataclass
class JpegHeader:
    """What stands in a JPEG beside its pixels; `xmp` with its continuation.

    `density` is JFIF's unit (0 none, 1 inch, 2 cm) and pixels across and down. `process` is the
    number of the frame's marker: 0xC0 baseline, 0xC3 lossless and so on.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    photoshop: bytes = b""
    comments: list[bytes] = field(default_factory=list)
    density: tuple[int, int, int] | None = None
    bits: int = 8
    process: int = 0xC0
    size: Size = field(default_factory=lambda: Size(0, 0))
    gain_map: bool = False

    @property
    def is_special(self) -> bool:
        """Whether its samples have other than 8 bits, or are coded without loss."""
        return self.bits != 8 or self.process in _LOSSLESS


def read_jpeg_header(path: Path) -> JpegHeader:
    """Everything before the pixels; as far as it can be followed. Raises `OSError`."""
    header, exif, icc, more = JpegHeader(), b"", {}, dict[bytes, dict[int, bytes]]()
    with path.open("rb") as file:
        for marker, data in _segments(file):
            if marker in _FRAMES and len(data) >= 5:
                header.process, header.bits = marker, data[0]
                header.size = Size(*struct.unpack(">HH", data[1:5]))
            elif marker == COM:
                header.comments.append(data)
            elif marker == APP0 and data[:5] == b"JFIF\0" and len(data) >= 12:
                header.density = struct.unpack(">BHH", data[7:12])
            elif marker == APP1 and data.startswith(EXIF):
                exif += data[len(EXIF) :]
            elif marker == APP1 and data.startswith(XMP):
                header.xmp = header.xmp or usable_xmp(data[len(XMP) :])
            elif marker == APP1 and data.startswith(MORE_XMP):
                guid, (_, at) = data[35:67], struct.unpack(">II", data[67:75])
                more.setdefault(guid, {})[at] = data[75:]
            elif marker == APP2 and data.startswith(ICC) and len(data) > 14:
                icc[data[12]] = data[14:]
            elif marker == APP13 and data.startswith(PHOTOSHOP):
                header.photoshop += data[len(PHOTOSHOP) :]
            header.gain_map |= marker == APP2 and data.startswith(_GAIN_MAP)
    header.exif = exif or None
    header.icc = b"".join(icc[number] for number in sorted(icc)) or None
    for guid, pieces in more.items():
        whole = b"".join(pieces[at] for at in sorted(pieces))
        if header.xmp and guid in header.xmp and usable_xmp(whole):
            header.xmp = merged(header.xmp, whole)
    return header


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the pixels."""
    file.seek(2)
    while True:
        byte = file.read(1)
        while byte and byte != b"\xff":  # what some programs leave between segments
            byte = file.read(1)
        while byte == b"\xff":
            byte = file.read(1)
        if not byte or byte[0] in (_SOS, _EOI):
            return
        if byte[0] in _STANDALONE or byte[0] == 0:
            continue
        length = file.read(2)
        if len(length) < 2:
            return
        yield byte[0], file.read(max(0, int.from_bytes(length, "big") - 2))


def pixels_of(data: bytes) -> bytes | None:
    """A JPEG from its first segment on that is no metadata; None while that has not come."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or not (APP0 <= data[at + 1] <= 0xEF or data[at + 1] == COM):
            return data[at:]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def pieces(data: bytes | None, size: int) -> list[bytes]:
    """Data that is too long for one segment, in pieces of `size` bytes; none of nothing."""
    return [data[at : at + size] for at in range(0, len(data), size)] if data else []


def guid_of(packet: bytes) -> bytes:
    """What a packet of XMP says of its continuation."""
    return hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()


def segment(marker: int, data: bytes) -> bytes:
    """A whole segment of at most `LIMIT` bytes of data."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
