"""TIFF directories, as TIFF files and EXIF have them: read and written, values left as bytes.

Of TIFF 6.0, section 2, and of BigTIFF, whose offsets and counts have 8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal, Union

SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of one value of each type."""
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
_SIGNED_RATIONAL = 10
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_MOST_ENTRIES = 4096

ReadAt = Callable[[int, int], bytes]
"""(offset, number) → that many bytes, or fewer at the end."""
Value = tuple[int, int, bytes]
"""Type, count, and the values in the byte order of the file."""
Directory = Mapping[int, Union[Value, "Directory"]]
"""Tag → value, or a directory that the tag points to."""


@dataclass(frozen=True)
class Layout:
    """Byte order (`<` or `>`) and whether offsets have 8 bytes."""

    order: Literal["<", ">"] = "<"
    big: bool = False

    @property
    def head(self) -> int:
        """Bytes of the number of entries."""
        return 8 if self.big else 2

    @property
    def width(self) -> int:
        """Bytes of an entry."""
        return 20 if self.big else 12

    @property
    def room(self) -> int:
        """Bytes of an offset, or of a value in its place."""
        return 8 if self.big else 4

    def integers(self, code: str, data: bytes | bytearray, at: int = 0) -> tuple[int, ...]:
        """Unpacked in this byte order."""
        return struct.unpack_from(self.order + code, data, at)

    def offset(self, value: int) -> bytes:
        """An offset, packed."""
        return struct.pack(self.order + ("Q" if self.big else "I"), value)


@dataclass(frozen=True)
class Entry:
    """One entry: `at` is where it stands, `place` where its value does."""

    tag: int
    kind: int
    count: int
    value: bytes
    at: int
    place: int

    def numbers(self, layout: Layout) -> tuple[int, ...]:
        """Whole numbers; none for other types."""
        code = _CODES.get(self.kind)
        return layout.integers(f"{self.count}{code}", self.value) if code else ()


def from_bytes(data: bytes | bytearray) -> ReadAt:
    """Reads from what is in memory."""
    return lambda offset, number: bytes(data[offset : offset + number])


def from_file(file: BinaryIO) -> ReadAt:
    """Reads from an open file."""

    def read(offset: int, number: int) -> bytes:
        file.seek(offset)
        return file.read(number)

    return read


def header(read: ReadAt) -> tuple[Layout, int]:
    """Layout and offset of the first directory. Raises `ValueError` for what is no TIFF."""
    start = read(0, 16)
    if start[:2] not in (b"II", b"MM") or len(start) < 8:
        raise ValueError("no TIFF header")
    order: Literal["<", ">"] = "<" if start[:2] == b"II" else ">"
    layout = Layout(order)
    (magic,) = layout.integers("H", start, 2)
    if magic == 43 and len(start) == 16:
        layout = Layout(order, big=True)
        return layout, layout.integers("Q", start, 8)[0]
    if magic != 42:
        raise ValueError("no TIFF header")
    return layout, layout.integers("I", start, 4)[0]


def directory_at(read: ReadAt, offset: int, layout: Layout) -> tuple[list[Entry], int]:
    """Entries of a directory whose values are there, and the offset of the next one (0: none).

    Raises `ValueError` where there is no directory.
    """
    number = read(offset, layout.head)
    if offset <= 0 or len(number) < layout.head:
        raise ValueError("no directory")
    (count,) = layout.integers("Q" if layout.big else "H", number)
    if count > _MOST_ENTRIES:
        raise ValueError("no directory")
    size = count * layout.width
    table = read(offset + layout.head, size + layout.room)
    entries = list(_entries(read, table[:size], offset + layout.head, layout))
    if count and not entries:
        raise ValueError("no directory")
    if len(table) < size + layout.room:
        return entries, 0
    return entries, layout.integers("Q" if layout.big else "I", table, size)[0]


def _entries(read: ReadAt, table: bytes, start: int, layout: Layout) -> Iterator[Entry]:
    for at in range(0, len(table) - layout.width + 1, layout.width):
        tag, kind, count = layout.integers("HHQ" if layout.big else "HHI", table, at)
        size = SIZES.get(kind, 0) * count
        if kind not in SIZES or size > 2**30:
            continue
        place = start + at + layout.width - layout.room
        if size > layout.room:
            field = table[at + layout.width - layout.room : at + layout.width]
            (place,) = layout.integers("Q" if layout.big else "I", field)
        value = read(place, size)
        if len(value) == size:
            yield Entry(tag, kind, count, value, start + at, place)


def pack(directory: Directory, start: int, layout: Layout) -> bytes:
    """A directory at offset `start` and what belongs to it, one after the other."""
    size = layout.head + layout.width * len(directory) + layout.room
    table, rest = [], bytearray()
    for tag in sorted(directory):
        value = directory[tag]
        place = start + size + len(rest)
        if isinstance(value, Mapping):
            rest += _even(pack(value, place, layout))
            value = LONG8 if layout.big else LONG, 1, layout.offset(place)
        kind, count, data = value
        if len(data) > layout.room:
            rest += _even(data)
            data = layout.offset(place)
        entry = struct.pack(layout.order + ("HHQ" if layout.big else "HHI"), tag, kind, count)
        table.append(entry + data.ljust(layout.room, b"\0"))
    number = struct.pack(layout.order + ("Q" if layout.big else "H"), len(directory))
    return number + b"".join(table) + layout.offset(0) + bytes(rest)


def swapped(directory: Directory) -> Directory:
    """The same values in the other byte order."""
    return {
        tag: swapped(value) if isinstance(value, Mapping) else _swapped(*value)
        for tag, value in directory.items()
    }


def _swapped(kind: int, count: int, data: bytes) -> Value:
    size = 4 if kind in (RATIONAL, _SIGNED_RATIONAL) else SIZES[kind]
    parts = (data[at : at + size][::-1] for at in range(0, len(data), size))
    return kind, count, b"".join(parts)


def _even(data: bytes) -> bytes:
    """Offsets are even numbers."""
    return data + b"\0" * (len(data) % 2)


def shorts(layout: Layout, *values: int) -> Value:
    """Values of 16 bits."""
    return SHORT, len(values), struct.pack(f"{layout.order}{len(values)}H", *values)


def longs(layout: Layout, *values: int) -> Value:
    """Values of 32 bits; of 64 in a BigTIFF."""
    code = "Q" if layout.big else "I"
    data = struct.pack(f"{layout.order}{len(values)}{code}", *values)
    return LONG8 if layout.big else LONG, len(values), data


def rational(layout: Layout, value: float) -> Value:
    """A positive fraction, exact to 32 bits."""
    from fractions import Fraction

    number = Fraction(value).limit_denominator(2**32 // max(1, int(value) + 1))
    return RATIONAL, 1, struct.pack(layout.order + "II", number.numerator, number.denominator)
