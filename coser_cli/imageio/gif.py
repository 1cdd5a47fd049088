"""Frames of a GIF as viewers show them, on its canvas.

The rules are those of the GIF89a specification (sections 20 and 23), and of browsers where it
leaves something open: what no frame covers is transparent, and so is what disposal 2 clears.
Pillow and libnsgif fill that with a colour in some files; here Pillow decodes single frames only.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from coser_cli.size import Size

_TO_BACKGROUND = 2
_TO_PREVIOUS = (3, 4)  # 4 by old programs that mistook the bits
_EXTENSION, _IMAGE, _END = b"!", b",", b";"
_GRAPHIC_CONTROL = b"\xf9"
_INTERLACED = 0x40


@dataclass(frozen=True)
class _Frame:
    """`extent` is (left, top, width, height) on the canvas; `file` a GIF of this frame alone."""

    extent: tuple[int, int, int, int]
    disposal: int
    has_transparency: bool
    file: bytes


class Animation:
    """The frames of one file as they are now, each composed once where they are asked for in order.

    `size` is that of the canvas; what is outside is not shown. Raises OSError.
    """

    def __init__(self, path: Path, size: Size) -> None:
        self._version = _version(path)
        frames, self.is_cut_off = _parsed(io.BytesIO(path.read_bytes()))
        self._rest = _composed(frames, size)
        self._next = 0

    def has_ahead(self, path: Path, number: int) -> bool:
        """Whether a frame is one of those to come, of the file that `path` is now."""
        return self._next <= number and self._version == _version(path)

    def frame(self, number: int) -> tuple[Any, bool]:
        """RGBA `(H, W, 4)` uint8 of a frame counted from 0, and whether the file may be transparent
        there. Raises whatever Pillow raises on damaged data, and EOFError where there is none.
        """
        for shown in self._rest:
            self._next += 1
            if self._next > number:
                return shown
        raise EOFError("the file has fewer frames")


def _version(path: Path) -> tuple[Any, ...]:
    status = path.stat()
    return path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns


def _composed(frames: Iterable[_Frame], size: Size) -> Iterator[tuple[Any, bool]]:
    """What `Animation.frame` returns, of one frame after the other."""
    canvas = np.zeros((*size.hw, 4), np.uint8)
    has_transparency = False
    for frame in frames:
        before = canvas.copy() if frame.disposal in _TO_PREVIOUS else canvas
        left, top, columns, rows = frame.extent
        part = canvas[top : top + rows, left : left + columns]
        pixels = _pixels(frame)[: part.shape[0], : part.shape[1]]
        visible = pixels[..., 3] > 0
        part[visible] = pixels[visible]
        has_transparency |= frame.has_transparency
        yield canvas.copy(), has_transparency or not bool(canvas[..., 3].all())
        if frame.disposal == _TO_BACKGROUND:
            part[:] = 0
        canvas = before


def _pixels(frame: _Frame) -> Any:
    with Image.open(io.BytesIO(frame.file), formats=("GIF",)) as image:
        return np.asarray(image.convert("RGBA"))


def _parsed(file: BinaryIO) -> tuple[list[_Frame], bool]:
    """The frames of a file, as far as it goes, and whether its end mark is missing."""
    frames: list[_Frame] = []
    header = file.read(13)
    table = _table(file, header[10])
    control = bytes(4)
    while (mark := file.read(1)) != _END:
        if mark == b"":
            return frames, True
        if mark == _EXTENSION:
            label, data = file.read(1), _blocks(file)
            if label == _GRAPHIC_CONTROL and len(data) >= 5:
                control = data[1:5]
        elif mark == _IMAGE:
            place = file.read(9)
            if len(place) < 9:
                return frames, True
            left, top, width, height, flags = struct.unpack("<4HB", place)
            own = _table(file, flags)
            # as the only table: Pillow takes the global one for a local one that is a grey ramp
            depth = flags & 0x87 if own else header[10] & 0x87
            screen = header[:6] + struct.pack("<2H3B", width, height, depth, 0, 0) + (own or table)
            extension = _EXTENSION + _GRAPHIC_CONTROL + b"\4" + bytes([control[0] & 1, 0, 0])
            extension += control[3:4] + b"\0"
            image = _IMAGE + struct.pack("<4HB", 0, 0, width, height, flags & _INTERLACED)
            data = file.read(1) + _blocks(file)
            frames.append(
                _Frame(
                    (left, top, width, height),
                    control[0] >> 2 & 7,
                    bool(control[0] & 1),
                    screen + extension + image + data + _END,
                )
            )
            control = bytes(4)
    return frames, False


def _table(file: BinaryIO, flags: int) -> bytes:
    """A colour table, where flags say that there is one."""
    return file.read(3 << ((flags & 7) + 1)) if flags & 0x80 else b""


def _blocks(file: BinaryIO) -> bytes:
    """Data in blocks, each with its length before it; up to the empty one, or the file's end."""
    blocks = []
    while size := file.read(1):
        blocks.append(size + file.read(size[0]))
        if size == b"\0":
            break
    return b"".join(blocks)
