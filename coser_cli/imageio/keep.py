"""The metadata of a source that a result gets: corrected for its size, as its format allows."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from coser_cli.imageio import jpeg, photoshop, png
from coser_cli.imageio.exif import exif_for_size, exif_of_comment, exif_of_resolution
from coser_cli.imageio.formats import Format
from coser_cli.imageio.metadata import Chunk, Metadata, Resolution
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.profiles import profile_space
from coser_cli.imageio.record import Record, with_record
from coser_cli.imageio.xmp import continued, xmp_for_size
from coser_cli.size import Size

_XMP_KEY = b"XML:com.adobe.xmp\0\0\0\0\0"
# What image generators write; in files without PNG's texts they use EXIF's user comment.
_PARAMETERS, _COMMENT = b"parameters", b"Comment"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class Kept:
    """The metadata of a file; `more_xmp` is a JPEG's continuation of `xmp`. `lost` lists in words
    what its format cannot hold.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    more_xmp: bytes | None = None
    iptc: bytes | None = None
    comments: tuple[bytes, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    icc: bytes | None = None
    dpi: Resolution | None = None
    lost: tuple[str, ...] = ()


def kept_of(source: Photo, size: Size, row: Format, record: Record | None = None) -> Kept:
    """The metadata that a result of `size` in the format `row` keeps of its source."""
    metadata, lost = source.metadata, []
    exif = exif_for_size(metadata.exif, size, source.size) if row.exif else None
    if exif and row.name == "JPEG" and len(exif) > jpeg.EXIF_LIMIT:
        exif, lost = None, ["EXIF (too large)"]
    elif metadata.exif and not row.exif:
        lost.append("EXIF")
    xmp, more_xmp = _xmp(source, size, row, record)
    if metadata.xmp and not (xmp_of_source(source, size) and row.exif):
        lost.append("XMP")
    if metadata.iptc and not row.iptc:
        lost.append("IPTC")
    chunks, comments, parameters = _texts(metadata, row)
    if parameters and exif is None and metadata.exif is None and row.exif:
        exif = exif_of_comment(parameters)
    elif parameters:
        lost.append("PNG text (parameters)")
    lost += _lost_texts(metadata, row)
    if exif is None and metadata.dpi and row.exif and row.name in ("WEBP", "AVIF"):
        exif = exif_of_resolution(metadata.dpi)
    # A grey profile fits a coloured file (the reference of a grey picture) as little as none.
    fits = source.grey or source.convert or profile_space(source.icc) != "GRAY"
    return Kept(
        exif,
        xmp,
        more_xmp,
        metadata.iptc if row.iptc else None,
        comments,
        chunks,
        source.icc if row.icc and fits else None,
        metadata.dpi,
        tuple(lost),
    )


def lost_words(source: Photo, row: Format) -> tuple[str, ...]:
    """A note that says what a result in this format does not keep; none where it keeps all."""
    lost = kept_of(source, source.size, row).lost
    return (f"not kept in {row.name}: {', '.join(lost)}",) if lost else ()


def xmp_of_source(source: Photo, size: Size) -> bytes | None:
    """The source's packet, corrected; None also where it is no well-formed XML."""
    metadata = source.metadata
    return xmp_for_size(metadata.xmp, size, source.size, turned=metadata.orientation != 1)


def _xmp(
    source: Photo, size: Size, row: Format, record: Record | None
) -> tuple[bytes | None, bytes | None]:
    """The packet with the record in it, and its continuation where a JPEG needs one."""
    if not row.exif:
        return None, None
    packet = xmp_of_source(source, size)
    whole = with_record(packet, record, None)
    if row.name != "JPEG" or whole is None or len(whole) <= jpeg.XMP_LIMIT:
        return whole, None
    if packet is None or len(packet) <= jpeg.XMP_LIMIT:
        return with_record(packet, record, jpeg.XMP_LIMIT), None
    return with_record(continued(jpeg.guid_of(packet)), record, jpeg.XMP_LIMIT), packet


def _texts(
    metadata: Metadata, row: Format
) -> tuple[tuple[Chunk, ...], tuple[bytes, ...], bytes | None]:
    """Chunks, comments, and a generator's parameters, as the format has them."""
    if row.chunks:
        return (*metadata.chunks, *(_comment_chunk(each) for each in metadata.comments)), (), None
    texts: dict[bytes, bytes] = {}
    for kind, data in metadata.chunks:
        if kind in _TEXTS:
            keyword, value = png.text_of(kind, data)
            texts.setdefault(keyword, value if kind == b"iTXt" else _utf8(value))
    comments = metadata.comments
    if row.comments and _COMMENT in texts:
        comments = (*comments, texts[_COMMENT])
    return (), comments if row.comments else (), texts.get(_PARAMETERS)


def _utf8(latin: bytes) -> bytes:
    return latin.decode("latin-1").encode()


def _comment_chunk(comment: bytes) -> Chunk:
    """Latin-1 as it is; else UTF-8, which iTXt says."""
    try:
        comment.decode("ascii")
    except UnicodeDecodeError:
        try:
            comment.decode()
        except UnicodeDecodeError:
            return b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")
        return b"iTXt", b"Comment\0\0\0\0\0" + comment.replace(b"\0", b"")
    return b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")


def _lost_texts(metadata: Metadata, row: Format) -> list[str]:
    lost = []
    if metadata.comments and not (row.comments or row.chunks):
        lost.append("comment")
    if row.chunks:
        return lost
    names = dict.fromkeys(
        png.text_of(kind, data)[0] for kind, data in metadata.chunks if kind in _TEXTS
    )
    names.pop(_PARAMETERS, None)
    if row.comments:
        names.pop(_COMMENT, None)
    if names:
        words = ", ".join(name.decode("latin-1") for name in names)
        lost.append(f"PNG text ({words})")
    if any(kind not in _TEXTS for kind, _ in metadata.chunks):
        lost.append("high dynamic range")
    return lost


def png_head(kept: Kept) -> bytes:
    """The chunks between a PNG's header and its pixels."""
    parts = []
    colours = [each for each in kept.chunks if each[0] not in _TEXTS]
    parts += [png.chunk(kind, data) for kind, data in colours]
    if kept.icc:
        parts.append(png.chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(kept.icc)))
    if kept.dpi:
        across, down = (max(1, round(value / 0.0254)) for value in kept.dpi)
        parts.append(png.chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if kept.exif:
        parts.append(png.chunk(b"eXIf", kept.exif))
    if kept.xmp:
        parts.append(png.chunk(b"iTXt", _XMP_KEY + kept.xmp))
    if kept.iptc:
        parts.append(png.chunk(b"zTXt", png.raw_profile("iptc", kept.iptc)))
    parts += [png.chunk(kind, data) for kind, data in kept.chunks if kind in _TEXTS]
    return b"".join(parts)


def jpeg_head(kept: Kept) -> bytes:
    """The start of a JPEG: all that stands before its tables."""
    density = (0, 1, 1)
    if kept.dpi:
        density = (1, *(min(65535, max(1, round(value))) for value in kept.dpi))  # type: ignore[assignment]
    segments = [(jpeg.APP0, b"JFIF\0\1\1" + struct.pack(">BHHxx", *density))]
    if kept.exif:
        segments.append((jpeg.APP1, jpeg.EXIF + kept.exif))
    if kept.xmp:
        segments.append((jpeg.APP1, jpeg.XMP + kept.xmp))
    if kept.more_xmp:
        start = jpeg.MORE_XMP + jpeg.guid_of(kept.more_xmp)
        size = jpeg.LIMIT - len(start) - 8
        for number, piece in enumerate(jpeg.pieces(kept.more_xmp, size)):
            place = struct.pack(">II", len(kept.more_xmp), number * size)
            segments.append((jpeg.APP1, start + place + piece))
    profile = jpeg.pieces(kept.icc, jpeg.LIMIT - len(jpeg.ICC) - 2)
    for number, piece in enumerate(profile, start=1):
        segments.append((jpeg.APP2, jpeg.ICC + bytes((number, len(profile))) + piece))
    for piece in jpeg.pieces(kept.iptc, jpeg.LIMIT - len(jpeg.PHOTOSHOP)):
        segments.append((jpeg.APP13, jpeg.PHOTOSHOP + piece))
    segments += [(jpeg.COM, comment) for comment in kept.comments]
    return b"\xff\xd8" + b"".join(jpeg.segment(*each) for each in segments)


def tiff_iptc(kept: Kept) -> tuple[bytes | None, bytes | None]:
    """The records of IPTC for a TIFF's own tag, and the other resources."""
    iptc = photoshop.iptc_of(kept.iptc)
    return iptc, photoshop.without_iptc(kept.iptc or b"") or None
