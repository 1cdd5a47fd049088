"""EXIF: kept byte by byte, with the few values corrected that enlarging changes.

Values are changed in place, and nothing is moved. So unknown tags survive, and offsets inside a
maker note stay valid.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from coser_cli.imageio import ifd
from coser_cli.imageio.ifd import Directory, Entry, Layout
from coser_cli.size import Size

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
_NESTED = {EXIF_IFD, GPS_IFD, INTEROP_IFD}
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x112, 0x11A, 0x11B, 0x128
_WIDTHS, _HEIGHTS = (0x100, 0xA002, 0x1001), (0x101, 0xA003, 0x1002)
_SUBJECTS = (0x9214, 0xA214)  # SubjectArea, SubjectLocation: places in pixels
_COLOR_SPACE, _INTEROP_INDEX, _USER_COMMENT = 0xA001, 0x1, 0x9286
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x201, 0x202
_PREFIX = b"Exif\0\0"
# What describes the photograph among the tags of a TIFF's directory; the others describe the file.
DESCRIPTIVE = frozenset(
    (
        *(0x10D, 0x10E, 0x10F, 0x110, 0x11D, 0x129, 0x131, 0x132, 0x13B, 0x13C),
        *(0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, 0xC4A5),
        *(X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, ORIENTATION),
    )
)


class _Block:
    """EXIF that can be changed in place."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.read = ifd.from_bytes(self.data)
        self.layout, self.first = ifd.header(self.read)
        if self.layout.big:
            raise ValueError("EXIF has offsets of 4 bytes")
        self.main, self.next = ifd.directory_at(self.read, self.first, self.layout)
        self.dangling: list[tuple[int, Entry]] = []
        """Pointers to nothing, with the place of their directory."""
        self.photo, place = self._nested(self.main, EXIF_IFD, self.first)
        self.gps, _ = self._nested(self.main, GPS_IFD, self.first)
        self.interop, _ = self._nested(self.photo, INTEROP_IFD, place)

    def _nested(self, entries: list[Entry], tag: int, table: int) -> tuple[list[Entry], int]:
        """What a pointer among the entries of the directory at `table` leads to, and where."""
        pointer = find(entries, tag)
        if pointer is None:
            return [], 0
        (offset, *_) = pointer.numbers(self.layout) or (0,)
        try:
            return ifd.directory_at(self.read, offset, self.layout)[0], offset
        except ValueError:
            self.dangling.append((table, pointer))
            return [], 0

    def entries(self) -> list[Entry]:
        """All of them."""
        return self.main + self.photo + self.gps + self.interop

    def numbers(self, entries: list[Entry], tag: int) -> tuple[int, ...]:
        """Values of one tag; none where it is not there."""
        entry = find(entries, tag)
        return entry.numbers(self.layout) if entry else ()

    def set(self, entry: Entry, *values: int) -> None:
        """Numbers in place of as many, SHORT or LONG; a single one may become a LONG."""
        kind, place = entry.kind, entry.place
        if len(values) == 1 and values[0] > 0xFFFF:
            kind, place = ifd.LONG, entry.at + 8
            struct.pack_into(f"{self.layout.order}H", self.data, entry.at + 2, kind)
        code = f"{len(values)}{'H' if kind == ifd.SHORT else 'I'}"
        struct.pack_into(self.layout.order + code, self.data, place, *values)

    def remove(self, table: int, entry: Entry) -> None:
        """Take an entry out of the directory at `table`: the ones behind it move up."""
        (count,) = self.layout.integers("H", self.data, table)
        end = table + 2 + 12 * count + 4
        self.data[entry.at : end - 12] = self.data[entry.at + 12 : end]
        struct.pack_into(f"{self.layout.order}H", self.data, table, count - 1)


def find(entries: Iterable[Entry], tag: int) -> Entry | None:
    """The first entry of that tag."""
    return next((entry for entry in entries if entry.tag == tag), None)


def usable_exif(data: bytes | None) -> bytes | None:
    """EXIF from its byte order mark on, without its thumbnail and without pointers to nothing.

    None where there is none, or where its first directory cannot be read.
    """
    if not data:
        return None
    while data.startswith(_PREFIX):
        data = data[len(_PREFIX) :]
    try:
        block = _Block(data)
        _drop_thumbnail(block)
        for table, entry in sorted(block.dangling, key=lambda each: -each[1].at):
            block.remove(table, entry)
    except (ValueError, struct.error):
        return None
    return bytes(block.data)


def _drop_thumbnail(block: _Block) -> None:
    """Forget the second directory, and make its picture zeros: it shows the old pixels."""
    if not block.next:
        return
    try:
        entries, _ = ifd.directory_at(block.read, block.next, block.layout)
    except ValueError:
        entries = []
    (start, *_) = block.numbers(entries, _THUMBNAIL) or (0,)
    (size, *_) = block.numbers(entries, _THUMBNAIL_LENGTH) or (0,)
    (count,) = block.layout.integers("H", block.data, block.first)
    struct.pack_into(f"{block.layout.order}I", block.data, block.first + 2 + 12 * count, 0)
    end = start + size
    if not (start and size and end <= len(block.data)):
        return
    block.data[start:end] = bytes(size)
    used = [max(each.at + 16, each.place + len(each.value)) for each in block.entries()]
    if start >= max(used, default=start) and end >= len(block.data) - 4:
        del block.data[start:]  # nothing else stands behind it


def orientation_of(exif: bytes | None) -> int | None:
    """1 to 8; None where it has none that is valid."""
    block = _Block(exif) if exif else None
    numbers = block.numbers(block.main, ORIENTATION) if block else ()
    return numbers[0] if numbers and 1 <= numbers[0] <= 8 else None


def exif_for_size(exif: bytes | None, size: Size, source: Size | None = None) -> bytes | None:
    """The same EXIF with orientation 1, and with sizes and places in pixels of the new picture.

    `source` is the size of the upright source. What it does not say is not added.
    """
    if exif is None:
        return None
    block = _Block(exif)
    turned = orientation_of(exif) or 1
    for entry in block.entries():
        if entry.kind not in (ifd.SHORT, ifd.LONG) or not entry.count:
            continue
        if entry.tag == ORIENTATION:
            block.set(entry, 1)
        elif entry.tag in _WIDTHS:
            block.set(entry, size.width)
        elif entry.tag in _HEIGHTS:
            block.set(entry, size.height)
        elif entry.tag in _SUBJECTS and source and 2 <= entry.count <= 4:
            values = entry.numbers(block.layout)
            block.set(entry, *_placed(values, turned, source, size))
    return bytes(block.data)


def without_orientation(exif: bytes) -> bytes:
    """The same EXIF without orientation."""
    block = _Block(exif)
    entry = find(block.main, ORIENTATION)
    if entry is not None:
        block.remove(block.first, entry)
    return bytes(block.data)


def _placed(values: tuple[int, ...], turned: int, source: Size, target: Size) -> Iterator[int]:
    """A point in stored pixels, and the size or diameter behind it, in pixels of the result."""
    x, y, *sides = values
    stored = source.turned if turned >= 5 else source
    if turned in (2, 3, 6, 7):
        # which axis is mirrored is said of the stored picture
        x, y = (stored.width - 1 - x, y) if turned in (2, 3) else (x, stored.height - 1 - y)
    if turned in (3, 4, 7, 8):
        x, y = (x, stored.height - 1 - y) if turned in (3, 4) else (stored.width - 1 - x, y)
    if turned >= 5:
        x, y, sides = y, x, sides[::-1]
    scales = [target.width / source.width, target.height / source.height]
    for value, scale in zip((x, y, *sides), scales * 2, strict=False):
        yield min(0xFFFF, max(0, round(value * scale)))


def names_adobe_rgb(exif: bytes | None) -> bool:
    """Whether it says Adobe RGB, as cameras do (DCF 2.0: interoperability R03; some: 2)."""
    if not exif:
        return False
    block = _Block(exif)
    space = block.numbers(block.photo, _COLOR_SPACE)
    index = find(block.interop, _INTEROP_INDEX)
    r03 = index is not None and index.value.startswith(b"R03")
    return space == (2,) or (r03 and space != (1,))


def resolution_in(exif: bytes | None) -> tuple[float, float] | None:
    """Dots per inch across and down, where both are given; None where not, or without a unit."""
    if not exif:
        return None
    block = _Block(exif)
    (unit, *_) = block.numbers(block.main, RESOLUTION_UNIT) or (2,)
    axes = find(block.main, X_RESOLUTION), find(block.main, Y_RESOLUTION)
    values = [_fraction(axis, block.layout) * {2: 1.0, 3: 2.54}.get(unit, 0.0) for axis in axes]
    return (values[0], values[1]) if all(values) else None


def _fraction(entry: Entry | None, layout: Layout) -> float:
    """A RATIONAL; 0 where it is none."""
    if entry is None or entry.kind != ifd.RATIONAL or entry.count != 1:
        return 0.0
    number, divisor = layout.integers("II", entry.value)
    return number / divisor if divisor else 0.0


def exif_of_resolution(dpi: tuple[float, float]) -> bytes:
    """EXIF with the resolution alone, for formats with no other place for it."""
    layout = Layout()
    return _as_exif(
        {
            X_RESOLUTION: ifd.rational(layout, dpi[0]),
            Y_RESOLUTION: ifd.rational(layout, dpi[1]),
            RESOLUTION_UNIT: ifd.shorts(layout, 2),
        },
        layout,
    )


def exif_of_tiff(read: ifd.ReadAt, offset: int, layout: Layout) -> bytes | None:
    """The tags about the photograph in a directory of a TIFF file, as EXIF; None without any."""
    entries, _ = ifd.directory_at(read, offset, layout)
    kept = _copied(read, entries, layout, DESCRIPTIVE)
    described = kept.keys() - {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, ORIENTATION}
    return _as_exif(kept, layout) if described else None


def exif_of_comment(text: bytes) -> bytes:
    """EXIF with a user comment alone, given in UTF-8."""
    layout = Layout(">")  # EXIF's Unicode is in the byte order of the block; readers expect this
    data = b"UNICODE\0" + text.decode(errors="replace").encode("utf-16-be")
    return _as_exif({EXIF_IFD: {_USER_COMMENT: (ifd.UNDEFINED, len(data), data)}}, layout)


def main_directory_of(exif: bytes) -> tuple[Directory, Layout]:
    """The first directory, its pointers as they are."""
    block = _Block(exif)
    return {each.tag: (each.kind, each.count, each.value) for each in block.main}, block.layout


def directories_of(exif: bytes) -> tuple[Directory, Layout]:
    """All of an EXIF block, to be written elsewhere."""
    block = _Block(exif)
    return _copied(block.read, block.main, block.layout, None), block.layout


def _copied(
    read: ifd.ReadAt, entries: Iterable[Entry], layout: Layout, wanted: frozenset[int] | None
) -> dict[int, ifd.Value | Directory]:
    copied: dict[int, ifd.Value | Directory] = {}
    for entry in entries:
        if entry.tag in _NESTED:
            try:
                offset = entry.numbers(layout)[0]
                nested, _ = ifd.directory_at(read, offset, layout)
            except (ValueError, IndexError):
                continue
            copied[entry.tag] = _copied(read, nested, layout, None)
        elif wanted is None or entry.tag in wanted:
            copied[entry.tag] = entry.kind, entry.count, entry.value
    return copied


def _as_exif(directory: Directory, layout: Layout) -> bytes:
    """A block of its own; offsets of 8 bytes become 4."""
    small = Layout(layout.order)
    directory = {tag: value for tag, value in directory.items() if _fits(value)}
    start = b"II*\0" if layout.order == "<" else b"MM\0*"
    return start + small.offset(8) + ifd.pack(directory, 8, small)


def _fits(value: ifd.Value | Directory) -> bool:
    """Whether EXIF knows the type."""
    return isinstance(value, Mapping) or value[0] <= 13
