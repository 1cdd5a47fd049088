"""A file's size and checksum in its own XMP, written last: what shows that it is whole.

The checksum leaves out the seal itself and, in a PNG, the checksum of the chunk that it is in.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from coser_cli.imageio import png

_OPEN, _CLOSE = b"<coser:Seal>", b"</coser:Seal>"
_BLANK = b"0" * 16 + b"-" + b"0" * 64
ELEMENT = (_OPEN + _BLANK + _CLOSE).decode()
"""What stands in the packet until the file is complete."""
_BLOCK = 2**20


def seal(file: BinaryIO) -> None:
    """Put a complete file's size and checksum into its packet; nothing where that has no seal."""
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE) as data:
        at = _seal_at(data)
        if at is None:
            return
        chunk = _png_chunk(data, at)
        data[at : at + len(_BLANK)] = _seal_of(data, at, chunk)
        if chunk is not None:
            start, end = chunk
            data[end - 4 : end] = struct.pack(">I", zlib.crc32(data[start + 4 : end - 4]))
        data.flush()


def is_sealed(path: Path) -> bool | None:
    """Whether a file is as it was written; None where it has no seal. Raises `OSError`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _seal_at(data)
        if at is None:
            return None
        return data[at : at + len(_BLANK)] == _seal_of(data, at, _png_chunk(data, at))


def _seal_at(data: mmap.mmap) -> int | None:
    at = data.find(_OPEN)
    return None if at < 0 else at + len(_OPEN)


def _seal_of(data: mmap.mmap, at: int, chunk: tuple[int, int] | None) -> bytes:
    """Size and checksum of everything but the seal."""
    parts = [(0, at), (at + len(_BLANK), len(data))]
    if chunk is not None:
        parts = [(0, at), (at + len(_BLANK), chunk[1] - 4), (chunk[1], len(data))]
    digest = hashlib.sha256()
    for start, end in parts:
        for first in range(start, end, _BLOCK):
            digest.update(data[first : min(first + _BLOCK, end)])
    return f"{len(data):016d}-{digest.hexdigest()}".encode()


def _png_chunk(data: mmap.mmap, at: int) -> tuple[int, int] | None:
    """Start and end of the chunk of a PNG that a place is in; None for other files."""
    if data[:8] != png.SIGNATURE:
        return None
    return next(((start, end) for _, start, end in png.spans(data) if start <= at < end), None)
