"""XMP packets: kept as they are, but for properties that enlarging makes wrong.

Sizes are corrected; what describes pictures that are not taken over (a motion photo's video, gain
maps, depth maps, thumbnails) is cut out. All else stays as it is, byte by byte.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from xml.parsers import expat

from coser_cli.size import Size

_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
_DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_NOTE = "http://ns.adobe.com/xmp/note/"
# Properties that are true of the old pixels only.
_DROPPED = {
    (_EXIF, "SubjectArea"),
    (_EXIF, "SubjectLocation"),
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"),
    (_NOTE, "HasExtendedXMP"),
}
# Places in fractions of the picture as it was stored: wrong once it has been turned.
_REGIONS = {
    ("http://www.metadataworkinggroup.com/schemas/regions/", "Regions"),
    ("http://ns.microsoft.com/photo/1.2/", "RegionInfo"),
}
# Namespaces of pictures, videos and sounds in the same file, with what they are.
_OTHERS = {
    "http://ns.google.com/photos/1.0/container/": "",
    "http://ns.google.com/photos/1.0/container/item/": "",
    "http://ns.google.com/photos/1.0/depthmap/": "depth map",
    "http://ns.google.com/photos/1.0/image/": "second picture",
    "http://ns.google.com/photos/1.0/audio/": "sound",
    "http://ns.google.com/photos/dd/1.0/": "depth map",
    "http://ns.adobe.com/hdr-gain-map/1.0/": "HDR gain map",
    "http://ns.apple.com/HDRGainMap/1.0/": "HDR gain map",
    "http://ns.apple.com/pixeldatainfo/1.0/": "",
    "http://ns.oneplus.com/media/1.0/": "",
    "http://ns.xiaomi.com/photos/1.0/camera/": "",
}
_VIDEO = re.compile(r"(MotionPhoto|MicroVideo)")
_ATTRIBUTE = re.compile(rb"\s+([\w.-]+):([\w.-]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_RDF = re.compile(r"<rdf:RDF\b[^>]*>")
_END = "</rdf:RDF>"

Rule = Callable[[str, str, str], "str | None"]
"""(namespace, name, simple value) of a property → its new value; None drops it."""


def usable_xmp(packet: object) -> bytes | None:
    """An XMP packet in UTF-8; None for what is none, or is no text in UTF-8 or UTF-16."""
    if isinstance(packet, str):
        packet = packet.encode(errors="replace")
    if not isinstance(packet, bytes):
        return None
    for encoding in ("utf-8-sig", "utf-16", "utf-16-be"):
        try:
            text = packet.decode(encoding)
        except UnicodeDecodeError:
            continue
        text = text.rstrip("\0")
        if "rdf:RDF" in text and "\0" not in text:
            return text.encode()
    return None


def orientation_in(packet: bytes | None) -> int:
    """The orientation, 1 to 8; 1 where it has none."""
    text = packet.decode() if packet else ""
    for prefix in prefixes(text, _TIFF):
        pattern = rf"{re.escape(prefix)}:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]"
        if match := re.search(pattern, text):
            return int(match[1])
    return 1


def others_in(packet: bytes | None) -> list[str]:
    """Which other pictures, videos and sounds it describes, in words."""
    text = packet.decode() if packet else ""
    words = {word: None for space, word in _OTHERS.items() if word and space in text}
    if _CAMERA in text and re.search(rf":{_VIDEO.pattern}", text):
        words["video of the motion photo"] = None
    return list(words)


def xmp_for_size(
    packet: bytes | None, size: Size, source: Size | None = None, *, turned: bool = False
) -> bytes | None:
    """The packet of a picture enlarged from `source` to `size`.

    `turned`: the pixels lay in another orientation than now. None where the packet is no
    well-formed XML, and so cannot be corrected. What it does not say is not added.
    """
    if packet is None:
        return None
    sizes = {
        (_TIFF, "Orientation"): 1,
        (_TIFF, "ImageWidth"): size.width,
        (_TIFF, "ImageLength"): size.height,
        (_EXIF, "PixelXDimension"): size.width,
        (_EXIF, "PixelYDimension"): size.height,
    }
    old = source or size
    applied = {("w", str(old.width)): size.width, ("h", str(old.height)): size.height}

    def rule(space: str, name: str, value: str) -> str | None:
        key = space, name
        is_other = any(space.startswith(each) for each in _OTHERS)
        is_video = space == _CAMERA and _VIDEO.match(name)
        if key in _DROPPED or is_other or is_video or (turned and key in _REGIONS):
            return None
        if space == _PANORAMA and name.endswith("Pixels"):
            across = "Width" in name or "Left" in name
            scale = size.width / old.width if across else size.height / old.height
            return _scaled(value, scale)
        if space == _DIMENSIONS:
            return str(applied.get((name, value), value))
        return str(sizes.get(key, value))

    return edited(packet, rule)


def _scaled(value: str, scale: float) -> str:
    try:
        return str(round(float(value) * scale))
    except (ValueError, OverflowError):
        return value


def edited(packet: bytes, rule: Rule) -> bytes | None:
    """A packet with its properties, elements or attributes, as a rule wants them.

    None for what is no well-formed XML.
    """
    try:
        elements = _elements(packet)
    except (expat.ExpatError, ValueError):
        return None
    spaces = _bound(packet)
    spans: list[tuple[int, int, bytes]] = []
    for element in elements:
        spans += element.changes(packet, spaces, rule)
    end, kept = 0, []
    for start, stop, new in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end:  # else it is inside of one that goes
            kept += [packet[end:start], new]
            end = stop
    return b"".join([*kept, packet[end:]])


@dataclass(frozen=True)
class _Element:
    """Where an element's tags begin and end; `inside` is where its content ends."""

    name: str
    start: int
    opened: int
    inside: int
    end: int

    def changes(
        self, packet: bytes, spaces: dict[str, str], rule: Rule
    ) -> list[tuple[int, int, bytes]]:
        """Spans that a rule wants to be otherwise."""
        spans = []
        for match in _ATTRIBUTE.finditer(packet, self.start, self.opened):
            prefix, name, quoted = (each.decode() for each in match.groups())
            value = html.unescape(quoted[1:-1])
            new = rule(spaces.get(prefix, prefix), name, value)
            if new is None:
                spans.append((match.start(), match.end(), b""))
            elif new != value:
                spans.append((match.start(3), match.end(3), f'"{html.escape(new)}"'.encode()))
        prefix, _, name = self.name.rpartition(":")
        content = packet[self.opened : self.inside].decode()
        value = "" if "<" in content else html.unescape(content.strip())
        new = rule(spaces.get(prefix, prefix), name, value)
        if new is None:
            spans.append((self.start, self.end, b""))
        elif new != value:
            spans.append((self.opened, self.inside, html.escape(new).encode()))
        return spans


def _elements(packet: bytes) -> list[_Element]:
    """Raises `ExpatError` for what is not well-formed, or has entities of its own."""
    parser = expat.ParserCreate()
    elements: list[_Element] = []
    stack: list[int] = []

    def ends(name: str) -> None:
        start, at = stack.pop(), parser.CurrentByteIndex
        opened = start + len(_tag(packet, start))
        is_empty = at in (start, opened) and packet[opened - 2 : opened] == b"/>"
        end = opened if is_empty else packet.index(b">", at) + 1
        elements.append(_Element(name, start, opened, opened if is_empty else at, end))

    def refuse(*_: object) -> None:
        raise ValueError("entities")

    parser.StartElementHandler = lambda *_: stack.append(parser.CurrentByteIndex)
    parser.EndElementHandler = ends
    parser.EntityDeclHandler = refuse
    parser.Parse(packet, True)
    return elements


def _tag(packet: bytes, start: int) -> bytes:
    """From its `<` to its `>`; values may have a `>`, too."""
    quote, at = 0, start
    while quote or packet[at] != ord(">"):
        if packet[at] in b"\"'" and quote in (0, packet[at]):
            quote = 0 if quote else packet[at]
        at += 1
    return packet[start : at + 1]


def continued(guid: bytes) -> bytes:
    """A packet that says nothing but which continuation it has (XMP, part 3, section 1.1.3.1)."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:xmpNote="{_NOTE}" '
        f'xmpNote:HasExtendedXMP="{guid.decode()}"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def merged(packet: bytes, extended: bytes) -> bytes:
    """A packet with the properties of its continuation in other JPEG segments (XMP, part 3)."""
    text, more = packet.decode(), extended.decode()
    start, end, place = _RDF.search(more), more.rfind(_END), text.rfind(_END)
    if not start or end < 0 or place < 0:
        return packet
    inner = more[start.end() : end]
    for prefix, space in _bound(more[: start.end()].encode()).items():
        if prefix != "rdf" and f"{prefix}:" in inner:  # bound outside of what is taken over
            bound = f'<rdf:Description xmlns:{prefix}="{space}"'
            inner = inner.replace("<rdf:Description", bound)
    return (text[:place] + inner + text[place:]).encode()


def removed(text: str, name: str) -> str:
    """Without a simple property, written as an attribute or as an element."""
    name = re.escape(name)
    text = re.sub(rf"\s{name}\s*=\s*(\"[^\"<]*\"|'[^'<]*')", "", text)
    return re.sub(rf"<{name}\s*>[^<]*</{name}\s*>", "", text)


def prefixes(text: str, space: str) -> set[str]:
    """The prefixes that a packet binds to a namespace."""
    return {prefix for prefix, bound in _bound(text.encode()).items() if bound == space}


def _bound(packet: bytes) -> dict[str, str]:
    """Prefix → namespace."""
    pairs = re.findall(rb"xmlns:([\w.-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", packet)
    return {prefix.decode(): (one or other).decode() for prefix, one, other in pairs}
