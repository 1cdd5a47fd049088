"""The record of how a picture was made: in its XMP packet or, where that has no room, beside it.

A record is an object of JSON; what is in it is the writer's business. Formats without XMP, and
pictures whose metadata is not wanted, have theirs in the folder `.coser-records` beside them. It
names the hash of the file that it belongs to, and counts for no other.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from coser_cli.imageio import jpeg, png
from coser_cli.imageio.atomic import atomic_file
from coser_cli.imageio.seal import ELEMENT, seal
from coser_cli.imageio.sniff import sniff, tiff_tags
from coser_cli.imageio.xmp import prefixes, removed, usable_xmp
from coser_cli.paths import RECORDS_FOLDER

NAMESPACE = "urn:coser-cli:record/1.0/"
FOLDER = RECORDS_FOLDER
_NAME = "Record"
_OURS = re.compile(
    rf'<rdf:Description rdf:about="" xmlns:coser="{re.escape(NAMESPACE)}">'
    rf"<coser:{_NAME}>[^<]*</coser:{_NAME}>(<coser:Seal>[^<]*</coser:Seal>)?</rdf:Description>"
)
_EMPTY = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'
    '</x:xmpmeta><?xpacket end="w"?>'
)
_END = "</rdf:RDF>"
_SELF_CLOSED = re.compile(r"<rdf:RDF((?:\s[^<>]*)?)/>")
_BLOCK = 2**20
_BY_PILLOW = ("WEBP", "AVIF")
_XMP_TAG = 700

Record = Mapping[str, Any]


def with_record(packet: bytes | None, record: Record | None, limit: int | None) -> bytes | None:
    """An XMP packet (UTF-8) that has this record and no other; None for none at all.

    What exceeds `limit` bytes is left out: the record before the packet, the packet before nothing.
    """
    text = None if packet is None else _without(packet.decode())
    packet = None if text is None or not _fits(text.encode(), limit) else text.encode()
    if record is None:
        return packet
    element = (
        f'<rdf:Description rdf:about="" xmlns:coser="{NAMESPACE}"><coser:{_NAME}>'
        f"{html.escape(_dump(record), quote=False)}</coser:{_NAME}>{ELEMENT}</rdf:Description>"
    )
    base = _EMPTY if packet is None else _SELF_CLOSED.sub(rf"<rdf:RDF\1>{_END}", packet.decode())
    before, end, after = base.rpartition(_END)
    extended = (before + element + end + after).encode()
    return extended if end and _fits(extended, limit) else packet


def record_in(packet: bytes | None) -> dict[str, Any] | None:
    """The record of a packet, written as an element or, by other programs, as an attribute."""
    if packet is None:
        return None
    text = packet.decode(errors="replace")
    for prefix in prefixes(text, NAMESPACE):
        name = re.escape(f"{prefix}:{_NAME}")
        pattern = rf"<{name}\s*>([^<]*)</{name}\s*>|\s{name}\s*=\s*(?:\"([^\"<]*)\"|'([^'<]*)')"
        for match in re.finditer(pattern, text):
            record = _load(html.unescape(match[1] or match[2] or match[3] or ""))
            if record is not None:
                return record
    return None


def completion(
    path: Path, record: Record | None, packet: bytes | None
) -> Callable[[BinaryIO], None] | None:
    """What is left to do before `path` appears: to seal the record in its packet, or to write it
    into a file of its own, first, so that no picture is ever there without its record.
    """
    if record is None:
        return None
    if record_in(packet) == dict(record):
        return seal

    def write(file: BinaryIO) -> None:
        file.seek(0)
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        place = _place(path)
        place.parent.mkdir(exist_ok=True)
        entry = {"file": path.name, "sha256": digest.hexdigest(), "record": record}
        with atomic_file(place) as target:
            target.write(_dump(entry).encode() + b"\n")

    return write


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a picture file; None where it has none, or is none."""
    return record_in(_packet(path)) or _beside(path)


def _packet(path: Path) -> bytes | None:
    """A file's XMP, whatever the size of the picture: nothing is decoded."""
    try:
        kind = sniff(path)
        if kind == "PNG":
            return usable_xmp(png.read_png_header(path).xmp)
        if kind == "JPEG":
            return jpeg.read_jpeg_header(path).xmp
        if kind == "TIFF":
            with path.open("rb") as file:
                packet = tiff_tags(file).get(_XMP_TAG)
            return usable_xmp(packet)
        if kind not in _BY_PILLOW:
            return None
        with path.open("rb") as file:
            Image.init()
            # by its class: `Image.open` refuses large pictures, which results may be
            return usable_xmp(Image.OPEN[kind][0](file, str(path)).info.get("xmp"))
    except MemoryError:
        raise
    except Exception:  # decoders raise anything; what cannot be read has no record
        return None


def _beside(path: Path) -> dict[str, Any] | None:
    try:
        entry = _load(_place(path).read_text(encoding="utf-8"))
        if entry is None or entry.get("file") != path.name:
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
    record = entry.get("record")
    return record if isinstance(record, dict) and entry.get("sha256") == digest else None


def _place(path: Path) -> Path:
    """Named by a hash: the picture's own name may have the longest length already."""
    name = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()
    return path.parent / FOLDER / f"{name[:32]}.json"


def _without(text: str) -> str:
    text = _OURS.sub("", text)
    for prefix in prefixes(text, NAMESPACE):
        text = removed(removed(text, f"{prefix}:{_NAME}"), f"{prefix}:Seal")
    return text


def _fits(packet: bytes, limit: int | None) -> bool:
    return limit is None or len(packet) <= limit


def _dump(data: Record) -> str:
    """The same text for the same record; in ASCII, so that any file name can be in it."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _load(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
