"""What a file is, by its first bytes: formats that are read, and those that are refused by name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from coser_cli.imageio import ifd

RAW = "camera RAW"
# Formats that are pictures and are not read, with what helps.
REFUSED = {
    RAW: "develop it first and save it as 16-bit TIFF, for example with darktable or RawTherapee",
    "JPEG XL": "convert it to PNG, for example with djxl",
    "JPEG 2000": "convert it to PNG or TIFF",
    "Photoshop": "save it as TIFF or PNG",
    "PDF": "export its pictures or pages as PNG",
    "SVG": "it has no pixels: export it at the size you want",
    "OpenEXR": "convert it to 16-bit TIFF",
    "Radiance HDR": "convert it to 16-bit TIFF",
}
PICTURE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("png", "jpg", "jpeg", "jpe", "jfif", "mpo", "webp", "tif", "tiff", "bmp", "gif"),
        *("avif", "heic", "heif"),
    )
)
RAW_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff"),
        *("iiq", "k25", "kdc", "mef", "mos", "mrw", "nef", "nrw", "orf"),
        *("pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
    )
)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"FOVb", RAW),  # Sigma X3F
    (b"\0MRM", RAW),  # Minolta MRW
    (b"IIRO", RAW),  # Olympus ORF, in three spellings
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),  # Panasonic RW2
    (b"II\x1a\0\0\0HEAPCCDR", RAW),  # Canon CRW
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF-", "PDF"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"<svg", "SVG"),
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# TIFF 6.0 and DNG tags.
MAKE, SUB_DIRECTORIES, DNG_VERSION = 271, 330, 50706
_RAW_MAKERS = (b"NIKON", b"SONY", b"PENTAX", b"SAMSUNG", b"EPSON", b"HASSELBLAD", b"KODAK", b"LEAF")


def sniff(path: Path) -> str | None:
    """Name of the picture format that the content shows; None if it shows none that is known.

    Raises `OSError` where the file cannot be read.
    """
    with path.open("rb") as file:
        return sniff_open(file, path.suffix.lower())


def sniff_open(file: BinaryIO, suffix: str = "") -> str | None:
    """The same of an open file. Where the content is RAW and TIFF, its `suffix` decides."""
    file.seek(0)
    head = file.read(32)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:2] == b"BM" and len(head) >= 26 and head[15:18] == b"\0\0\0":
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _brand(file, head)
    if head[:4] in _TIFF:
        return RAW if suffix in RAW_SUFFIXES or _is_raw(head, tiff_tags(file)) else "TIFF"
    return None


def _brand(file: BinaryIO, head: bytes) -> str | None:
    """An ISO media file's format, from its major and compatible brands."""
    size = min(int.from_bytes(head[:4], "big"), 512)
    file.seek(8)
    data = file.read(max(0, size - 8))
    brands = [data[at : at + 4] for at in range(0, len(data), 4) if at != 4]
    if b"crx " in brands:
        return RAW  # Canon CR3
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if _HEIF_BRANDS.intersection(brands) else None


def _is_raw(head: bytes, tags: dict[int, tuple[int, ...] | bytes]) -> bool:
    """Whether a TIFF holds sensor data: its own first directory then shows a thumbnail only."""
    if head[8:11] == b"CR\x02" or DNG_VERSION in tags:
        return True
    make = tags.get(MAKE, b"")
    by_camera = isinstance(make, bytes) and make.upper().startswith(_RAW_MAKERS)
    return by_camera and SUB_DIRECTORIES in tags


def tiff_tags(file: BinaryIO) -> dict[int, tuple[int, ...] | bytes]:
    """Whole-number and text tags of a TIFF's first directory; empty where it is damaged."""
    read = ifd.from_file(file)
    try:
        layout, offset = ifd.header(read)
        entries, _ = ifd.directory_at(read, offset, layout)
    except (struct.error, ValueError, OSError, OverflowError):
        return {}
    texts = (ifd.BYTE, ifd.ASCII, ifd.UNDEFINED)
    return {
        entry.tag: entry.value if entry.kind in texts else entry.numbers(layout)
        for entry in entries
    }
