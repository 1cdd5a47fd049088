"""XMP packets: taken over as they are, with the few properties corrected that enlarging changes."""

from __future__ import annotations

import re

from PIL import Image

# Where the packet lies in what Pillow reads: as bytes, or in a PNG's text as a string.
_KEYS = ("xmp", "XML:com.adobe.xmp")
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_NOTE = "http://ns.adobe.com/xmp/note/"


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
