"""PNG files chunk by chunk: what they say beside their pixels, and files whose pixels are whole
though something else in them is damaged.

Of the PNG specification, third edition (2025): sections 5 (chunks) and 11 (their kinds).
"""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LIMIT = 64 * 2**20
"""Bytes that a profile or a text may have, unpacked."""
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_OF_PIXELS = _CRITICAL | {b"tRNS", b"acTL", b"fcTL", b"fdAT"}
_LARGE = {b"IDAT", b"fdAT"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_PIECE = 2**20
_PILLOW_TEXT = 2**20  # what Pillow reads of a text or a profile
_RAW_PROFILE = b"Raw profile type "
_THUMBNAIL = b"Thumb::"  # of the freedesktop.org thumbnail specification


class UnknownCriticalChunkError(ValueError):
    """A chunk without which the pixels cannot be understood."""


@dataclass
class PngHeader:
    """What stands in a PNG beside its pixels.

    `texts` are chunks (kind, data) as they are, without those that are EXIF, XMP, IPTC or a
    profile. `problems` are in words. `damaged`: a decoder would stumble over what is no pixel.
    """

    chunks: dict[bytes, bytes] = field(default_factory=dict)
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)
    profiles: dict[str, bytes] = field(default_factory=dict)
    xmp: bytes | None = None
    problems: list[str] = field(default_factory=list)
    damaged: bool = False

    @property
    def icc(self) -> bytes | None:
        """The profile; `b""` where it cannot be unpacked."""
        data = self.chunks.get(b"iCCP")
        if data is None:
            return self.profiles.get("icc") or self.profiles.get("icm")
        return _inflated(data[data.find(b"\0") + 2 :]) or b""

    @property
    def exif(self) -> bytes | None:
        """EXIF, of its own chunk or as ImageMagick has it."""
        raw = self.profiles.get("exif") or self.profiles.get("APP1")
        return self.chunks.get(b"eXIf") or raw

    @property
    def density(self) -> tuple[int, int, int] | None:
        """Pixels per unit across and down, and the unit: 1 is the metre, 0 none."""
        data = self.chunks.get(b"pHYs", b"")
        return struct.unpack(">IIB", data) if len(data) == 9 else None


def read_png_header(path: Path) -> PngHeader:
    """Everything but pixels. Raises `UnknownCriticalChunkError`, or `OSError`."""
    header = PngHeader()
    with path.open("rb") as file:
        kind = b""
        for kind, data, is_whole in _chunks(file):
            if kind not in _CRITICAL and not kind[0] & 0x20:
                raise UnknownCriticalChunkError(kind.decode("latin-1"))
            if kind in _LARGE or kind in _CRITICAL:
                continue
            if not is_whole:
                header.damaged = True
                header.problems.append(f"a damaged {kind.decode('latin-1')} chunk was left out")
            elif kind in _TEXTS:
                _take_text(header, kind, data)
            else:
                header.chunks.setdefault(kind, data)
                header.damaged |= kind == b"iCCP" and len(header.icc or b"") > _PILLOW_TEXT
    if kind != b"IEND":
        header.damaged = True
        header.problems.append("the end mark is missing; all pixels are there")
    return header


def _take_text(header: PngHeader, kind: bytes, data: bytes) -> None:
    keyword, value = text_of(kind, data)
    header.damaged |= len(value) > _PILLOW_TEXT
    if keyword == b"XML:com.adobe.xmp":
        header.xmp = header.xmp or value
    elif keyword.startswith(_RAW_PROFILE):
        name = keyword[len(_RAW_PROFILE) :].decode("latin-1")
        if name == "xmp":
            header.xmp = header.xmp or _raw_profile(value)
        else:
            header.profiles.setdefault(name, _raw_profile(value))
    elif not keyword.startswith(_THUMBNAIL):
        header.texts.append((kind, data))


def text_of(kind: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk, unpacked; the text is Latin-1, or UTF-8 for iTXt."""
    keyword, _, rest = data.partition(b"\0")
    if kind == b"tEXt":
        return keyword, rest
    if kind == b"zTXt":
        return keyword, _inflated(rest[1:])
    packed = rest[:1] == b"\1"
    value = rest[2:].split(b"\0", 2)[-1]
    return keyword, _inflated(value) if packed else value


def _inflated(data: bytes) -> bytes:
    """Unpacked, as far as the limit; nothing where it is damaged."""
    try:
        return zlib.decompressobj().decompress(data, LIMIT)
    except zlib.error:
        return b""


def _raw_profile(value: bytes) -> bytes:
    """ImageMagick's hexadecimal text: a name, a length, and the bytes."""
    parts = value.split(None, 2)
    try:
        return bytes.fromhex(parts[2].decode("ascii")) if len(parts) == 3 else b""
    except ValueError:
        return b""


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind, data and whether its checksum is right, to the end mark; large ones without data."""
    size = file.seek(0, io.SEEK_END)
    at = len(SIGNATURE)
    while at + 12 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        end = at + 12 + length
        if end > size:
            return
        is_read = kind not in _LARGE and length <= LIMIT
        data = file.read(length) if is_read else b""
        is_whole = kind in _LARGE or (is_read and file.read(4) == _crc(kind, data))
        yield kind, data, is_whole
        if kind == b"IEND":
            return
        at = end


def without_damage(path: Path) -> io.BytesIO:
    """The file's pixels alone, with an end mark."""
    data = path.read_bytes()
    kept = [SIGNATURE]
    for kind, start, end in spans(data):
        if kind in _OF_PIXELS and kind != b"IEND" and end <= len(data):
            kept.append(data[start:end])
    return io.BytesIO(b"".join([*kept, chunk(b"IEND", b"")]))


def spans(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk; the last one may end behind the data."""
    start = len(SIGNATURE)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        yield kind, start, end
        start = end


def with_right_checksums(data: bytes) -> bytes | None:
    """The file with the checksums that its pixels' chunks should have.

    None where the pixels themselves are not whole: packed, they have a checksum of their own.
    """
    parts, packed = [SIGNATURE], b""
    for kind, start, end in spans(data):
        content = data[start + 8 : end - 4]
        if kind == b"IDAT":
            packed += content
        parts.append(chunk(kind, content) if kind in _LARGE else data[start:end])
    return b"".join(parts) if _unpacks(packed) else None


def _unpacks(packed: bytes) -> bool:
    """Whether it is packed whole, and its checksum is right."""
    unpacker, more = zlib.decompressobj(), True
    try:
        while more and not unpacker.eof:
            more = bool(unpacker.decompress(packed, _PIECE)) or len(unpacker.unconsumed_tail) > 0
            packed = unpacker.unconsumed_tail
    except zlib.error:
        return False
    return unpacker.eof


def _crc(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A whole chunk."""
    return struct.pack(">I", len(data)) + kind + data + _crc(kind, data)


def raw_profile(name: str, data: bytes) -> bytes:
    """The data of a zTXt chunk with a profile as ImageMagick writes it."""
    digits = data.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\n{name}\n{len(data):8d}\n{lines}\n"
    return _RAW_PROFILE + name.encode() + b"\0\0" + zlib.compress(text.encode())
