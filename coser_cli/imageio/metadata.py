"""EXIF and XMP: what a picture file says beside its pixels, kept true after enlarging."""

from __future__ import annotations

import math
import re
import struct

from PIL import ExifTags, Image

# EXIF shares its first directory with TIFF's own structure (sizes, strips, compression), which
# would corrupt the file it is copied into; so only what describes the photograph is taken over.
_KEPT = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
    ExifTags.Base.Rating,
)
_KEPT_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# What damaged EXIF makes Pillow raise while parsing or packing it.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error, OverflowError)
# Where the packet lies in what Pillow reads: as bytes, or in a PNG's text as a string.
_KEYS = ("xmp", "XML:com.adobe.xmp")
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_NOTE = "http://ns.adobe.com/xmp/note/"


def read_exif(image: Image.Image | Image.Exif) -> bytes | None:
    """Descriptive EXIF tags of an opened picture, without orientation; None if none or damaged."""
    try:
        kept = Image.Exif()
        source = image if isinstance(image, Image.Exif) else image.getexif()
        kept.update({tag: source[tag] for tag in _KEPT if tag in source})
        for directory in _KEPT_DIRECTORIES:
            kept.get_ifd(directory).update(source.get_ifd(directory))
        has_any = len(kept) > 0 or any(kept.get_ifd(each) for each in _KEPT_DIRECTORIES)
        return kept.tobytes() if has_any else None
    except _DAMAGED:
        return None


def read_orientation(image: Image.Image) -> int:
    """EXIF's orientation of an opened picture (Pillow looks into XMP, too); 1 if it has none."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
        return 1
    return orientation if orientation in range(1, 9) else 1


def exif_for_size(exif: bytes | None, width: int, height: int) -> bytes | None:
    """The same EXIF with orientation 1 and the pixel sizes of the enlarged picture."""
    if exif is None:
        return None
    tags = Image.Exif()
    tags.load(exif)
    tags[ExifTags.Base.Orientation] = 1
    photo = tags.get_ifd(ExifTags.IFD.Exif)
    photo[ExifTags.Base.ExifImageWidth] = width
    photo[ExifTags.Base.ExifImageHeight] = height
    return tags.tobytes()


def read_dpi(image: Image.Image) -> tuple[float, float] | None:
    """Resolution in dots per inch, if the file gives a usable one."""
    try:
        across, down = (float(value) for value in image.info.get("dpi", (0, 0)))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    usable = all(math.isfinite(value) and 0 < value < 65536 for value in (across, down))
    return (across, down) if usable else None


def read_xmp(image: Image.Image) -> bytes | None:
    """The packet of an opened picture; None if there is none, or one that is no UTF-8 text.

    What cannot be read cannot be corrected either, and would then tell a wrong orientation.
    """
    for key in _KEYS:
        packet = image.info.get(key)
        if isinstance(packet, str):
            packet = packet.encode()
        if isinstance(packet, bytes) and usable(packet):
            return packet
    return None


def usable(packet: bytes) -> bool:
    """Whether it is an XMP packet in UTF-8."""
    try:
        text = packet.decode()
    except UnicodeDecodeError:
        return False
    return "\0" not in text.rstrip("\0") and "rdf:RDF" in text


def xmp_for_size(packet: bytes | None, width: int, height: int) -> bytes | None:
    """The same packet with orientation 1 and the pixel sizes of the enlarged picture.

    Properties that it does not have are not added. The reference to a continuation in further JPEG
    segments goes, since those are not taken over.
    """
    if packet is None:
        return None
    text = packet.decode().rstrip("\0")
    for space, values in (
        (_TIFF, {"Orientation": 1, "ImageWidth": width, "ImageLength": height}),
        (_EXIF, {"PixelXDimension": width, "PixelYDimension": height}),
    ):
        for prefix in prefixes(text, space):
            for name, value in values.items():
                text = _replaced(text, f"{prefix}:{name}", str(value))
    for prefix in prefixes(text, _NOTE):
        text = removed(text, f"{prefix}:HasExtendedXMP")
    return text.encode()


def prefixes(text: str, space: str) -> set[str]:
    """The prefixes that a packet binds to a namespace."""
    return set(re.findall(rf"xmlns:([\w.-]+)\s*=\s*[\"']{re.escape(space)}[\"']", text))


def _replaced(text: str, name: str, value: str) -> str:
    """A simple property set to `value`, written as an attribute or as an element."""
    name = re.escape(name)
    text = re.sub(rf"(\s{name}\s*=\s*)(\"[^\"<]*\"|'[^'<]*')", rf'\g<1>"{value}"', text)
    return re.sub(rf"(<{name}\s*>)[^<]*(</{name}\s*>)", rf"\g<1>{value}\g<2>", text)


def removed(text: str, name: str) -> str:
    """Without a simple property, written as an attribute or as an element."""
    name = re.escape(name)
    text = re.sub(rf"\s{name}\s*=\s*(\"[^\"<]*\"|'[^'<]*')", "", text)
    return re.sub(rf"<{name}\s*>[^<]*</{name}\s*>", "", text)
