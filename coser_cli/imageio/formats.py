"""What each output format can hold: one row per format; neither numpy nor Pillow here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coser_cli.errors import InputError, UsageError, shown
from coser_cli.size import Size


@dataclass(frozen=True)
class Format:
    """What one output format can hold, and how Pillow is asked to write it."""

    name: str
    suffixes: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    alpha: bool = False
    sixteen_bits: bool = False
    icc: bool = True
    exif: bool = True
    """And XMP."""
    iptc: bool = False
    comments: bool = False
    chunks: bool = False
    """Texts of PNG."""
    max_side: int = 2**31 - 1
    streamed: bool = True
    """Whether it is written row by row, so that the picture may be larger than memory."""


FORMATS = (
    Format("PNG", (".png",), alpha=True, sixteen_bits=True, iptc=True, chunks=True),
    Format(
        "JPEG",
        (".jpg", ".jpeg"),
        {"quality": 95, "subsampling": 0},
        max_side=65500,
        iptc=True,
        comments=True,
    ),
    Format("WEBP", (".webp",), {"quality": 95}, alpha=True, max_side=16383),
    Format("TIFF", (".tif", ".tiff"), alpha=True, sixteen_bits=True, iptc=True),
    Format(
        "AVIF",
        (".avif",),
        {"quality": 90, "subsampling": "4:4:4"},
        alpha=True,
        max_side=65536,
        streamed=False,
    ),
    Format("BMP", (".bmp",), icc=False, exif=False, streamed=False),
)
WRITABLE_SUFFIXES = tuple(suffix for row in FORMATS for suffix in row.suffixes)


def format_of(path: Path) -> Format:
    """The format that a file name asks for by its extension; `UsageError` if there is none."""
    suffix = path.suffix.lower()
    for row in FORMATS:
        if suffix in row.suffixes:
            return row
    known = ", ".join(WRITABLE_SUFFIXES)
    raise UsageError(f"cannot write {shown(path)}: unknown extension {suffix!r}", f"use {known}")


def format_named(name: str) -> Format:
    """The format of that name or extension, in any case ("jpg", "JPEG"); `UsageError` if none."""
    for row in FORMATS:
        if name.upper() == row.name or f".{name.lower()}" in row.suffixes:
            return row
    known = ", ".join(row.name.lower() for row in FORMATS)
    raise UsageError(f"unknown format {name!r}", f"known are {known}")


def require_fits(path: Path, size: Size) -> None:
    """`InputError` where the format cannot hold a picture of this size."""
    row = format_of(path)
    if size.long_side > row.max_side:
        raise InputError(
            f"cannot write {shown(path)}: {size} pixels, "
            f"{row.name} ends at {row.max_side} per side",
            "write .png or .tif, or use a smaller scale",
        )


def require_streamable(path: Path, size: Size) -> None:
    """`require_fits`, and `InputError` where the format is not written row by row."""
    require_fits(path, size)
    row = format_of(path)
    if not row.streamed:
        raise InputError(
            f"cannot write {shown(path)}: {row.name} is not written in parts, "
            f"which {size} pixels need",
            "write .png or .tif",
        )
