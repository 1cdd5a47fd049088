"""Metadata of a picture file, in any format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from coser_cli.imageio import icc as profiles
from coser_cli.imageio import ifd, photoshop, png
from coser_cli.imageio.exif import (
    exif_of_tiff,
    names_adobe_rgb,
    orientation_of,
    resolution_in,
    usable_exif,
)
from coser_cli.imageio.jpeg import JpegHeader
from coser_cli.imageio.xmp import orientation_in, others_in, usable_xmp

Resolution = tuple[float, float]
Chunk = tuple[bytes, bytes]
_XMP_TAG, _IPTC_TAG, _PHOTOSHOP_TAG, _ICC_TAG = 700, 33723, 34377, 34675
_X, _Y, _UNIT = 282, 283, 296
_HDR = {b"cICP", b"mDCV", b"cLLI", b"mDCv", b"cLLi"}
_SRGB_GAMMA, _GAMMA_STEP = 45455, 100000
_ALIKE = 0.002
_DAMAGED_EXIF = "the EXIF data is damaged and was left out"


@dataclass(frozen=True)
class Metadata:
    """`exif` from its byte order mark on, with the source's orientation; `xmp` in UTF-8; `iptc` as
    Photoshop's resources; `comments` of JPEG and GIF; `chunks` of PNG (kind, data), texts and what
    describes high dynamic range. `dpi` across and down.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comments: tuple[bytes, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    dpi: Resolution | None = None

    @property
    def orientation(self) -> int:
        """EXIF's, 1 to 8; XMP's where EXIF has none."""
        in_exif = orientation_of(self.exif)
        return orientation_in(self.xmp) if in_exif is None else in_exif


@dataclass(frozen=True)
class FileInfo:
    """Metadata, the colour profile in effect, and notes for the user.

    `is_made`: the file has no profile; this one is made from what the file says otherwise.
    """

    metadata: Metadata = Metadata()
    icc: bytes | None = None
    notes: tuple[str, ...] = ()
    is_made: bool = False


def of_png(header: png.PngHeader, *, grey: bool) -> FileInfo:
    """Of a PNG."""
    density = header.density
    dpi = (density[0] * 0.0254, density[1] * 0.0254) if density and density[2] == 1 else None
    raw = header.profiles.get("iptc") or header.profiles.get("8bim") or b""
    hdr = [each for each in header.chunks.items() if each[0] in _HDR and _hdr_name(header)]
    icc, notes, is_made = _colour_of_png(header, grey)
    chunks = (*hdr, *header.texts)
    facts = _file_info(header.exif, header.xmp, raw, dpi=dpi, chunks=chunks, icc=icc)
    return replace(facts, notes=(*header.problems, *notes, *facts.notes), is_made=is_made)


def _colour_of_png(header: png.PngHeader, grey: bool) -> tuple[bytes | None, tuple[str, ...], bool]:
    """The profile, notes, and whether the profile is made: cICP, iCCP, sRGB, gAMA and cHRM, the
    first that is there (PNG, third edition, section 4.3).
    """
    cicp = header.chunks.get(b"cICP", b"")
    if name := _hdr_name(header):
        return None, (f"high dynamic range ({name}) is enlarged as it is",), False
    if len(cicp) == 4:
        profile = profiles.profile_of_code_points(cicp[0], cicp[1])
        if profile and cicp[2] == 0 and cicp[3] == 1:
            return profile, (), True
        return header.icc, ("its colour code points are not known; taken as sRGB",), True
    if header.icc is not None:
        return header.icc, (), False
    if b"sRGB" in header.chunks:
        return None, (), False
    return _profile_of_gamma(header.chunks, grey), (), True


def _hdr_name(header: png.PngHeader) -> str | None:
    """The transfer function of high dynamic range that its code points name."""
    cicp = header.chunks.get(b"cICP", b"")
    return profiles.HDR_TRANSFERS.get(cicp[1]) if len(cicp) == 4 else None


def _profile_of_gamma(chunks: Mapping[bytes, bytes], grey: bool) -> bytes | None:
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big")
    places = chunks.get(b"cHRM", b"")
    primaries: profiles.Primaries | None = None
    if len(places) == 32:
        values = [int.from_bytes(places[at : at + 4], "big") / 1e5 for at in range(0, 32, 4)]
        near = zip(values, profiles.SRGB, strict=True)
        if not all(abs(one - other) < _ALIKE for one, other in near):
            primaries = tuple(values)
    is_srgb_gamma = abs(gamma - _SRGB_GAMMA) < _SRGB_GAMMA * 0.01
    if not gamma or (is_srgb_gamma and primaries is None):
        curve = profiles.linear_of(13)
    else:
        curve = _GAMMA_STEP / gamma
    if curve is None or (primaries is None and not (gamma and not is_srgb_gamma)):
        return None
    if grey:
        return profiles.grey_profile(f"gamma {gamma / _GAMMA_STEP:g}", curve)
    name = f"PNG gamma {gamma / _GAMMA_STEP:g}"
    return profiles.matrix_profile(name, primaries or profiles.SRGB, curve)


def of_jpeg(header: JpegHeader) -> FileInfo:
    """Of a JPEG."""
    dpi = None
    if header.density and header.density[0] in (1, 2):
        per_inch = 1.0 if header.density[0] == 1 else 2.54
        dpi = header.density[1] * per_inch, header.density[2] * per_inch
    facts = _file_info(
        header.exif,
        header.xmp,
        header.photoshop,
        dpi=dpi,
        icc=header.icc,
        comments=tuple(header.comments),
    )
    words = others_in(facts.metadata.xmp)
    if header.gain_map and "HDR gain map" not in words:
        words.append("HDR gain map")
    notes = tuple(f"the {word} in it is not taken over" for word in words)
    return replace(facts, notes=(*facts.notes, *notes))


def of_pillow(info: Mapping[Any, Any], code_points: tuple[int, int] | None = None) -> FileInfo:
    """From what Pillow reads of WebP, GIF, BMP, AVIF and HEIC; `code_points` as of H.273."""
    comment = info.get("comment")
    comments = (comment,) if isinstance(comment, bytes) and comment else ()
    icc = info.get("icc_profile") or None
    facts = _file_info(
        info.get("exif"), info.get("xmp"), b"", dpi=info.get("dpi"), icc=icc, comments=comments
    )
    if icc or code_points is None:
        return facts
    primaries, transfer = code_points
    if transfer in profiles.HDR_TRANSFERS:
        name = profiles.HDR_TRANSFERS[transfer]
        note = f"high dynamic range ({name}) is enlarged as it is, and not kept as such"
        return replace(facts, notes=(*facts.notes, note))
    profile = profiles.profile_of_code_points(primaries, transfer)
    return replace(facts, icc=profile, is_made=True)


def of_tiff(tag: Any, read: ifd.ReadAt, offset: int, layout: ifd.Layout) -> FileInfo:
    """Of the directory at `offset`; `tag` gives a tag's value."""
    resources = tag(_PHOTOSHOP_TAG)
    resources = resources if isinstance(resources, bytes) else b""
    entries, _ = ifd.directory_at(read, offset, layout)
    iptc = next((entry.value for entry in entries if entry.tag == _IPTC_TAG), b"")
    if iptc and photoshop.iptc_of(resources) is None:
        iptc = iptc.rstrip(b"\0")
        resources = photoshop.resource(photoshop.IPTC, iptc) + resources
    xmp = next((entry.value for entry in entries if entry.tag == _XMP_TAG), None)
    icc = next((entry.value for entry in entries if entry.tag == _ICC_TAG), None)
    return _file_info(
        exif_of_tiff(read, offset, layout), xmp, resources, dpi=_dpi_of_tiff(tag), icc=icc
    )


def _dpi_of_tiff(tag: Any) -> Resolution | None:
    unit = {2: 1.0, 3: 2.54}.get(int(tag(_UNIT) or 2))
    values = [tag(_X), tag(_Y)]
    if unit is None or not all(isinstance(value, tuple) and len(value) == 2 for value in values):
        return None
    across, down = (value[0] / value[1] * unit if value[1] else 0.0 for value in values)
    return across, down


def _file_info(
    exif: object,
    xmp: object,
    resources: bytes,
    *,
    dpi: object = None,
    icc: bytes | None = None,
    comments: tuple[bytes, ...] = (),
    chunks: tuple[Chunk, ...] = (),
) -> FileInfo:
    """The checked parts; without a profile, Adobe RGB is used where EXIF names it."""
    raw = exif if isinstance(exif, bytes) else None
    block = usable_exif(raw)
    notes = (_DAMAGED_EXIF,) if raw and block is None else ()
    resolution = _usable(dpi) or _usable(resolution_in(block))
    iptc = photoshop.kept(resources) if resources else None
    metadata = Metadata(block, usable_xmp(xmp), iptc, comments, chunks, resolution)
    if icc is None and names_adobe_rgb(block):
        icc = profiles.matrix_profile(
            "Adobe RGB (1998) compatible", profiles.ADOBE_RGB, profiles.ADOBE_GAMMA
        )
        return FileInfo(metadata, icc, (*notes, "taken as Adobe RGB, which its EXIF names"), True)
    return FileInfo(metadata, icc, notes)


def _usable(dpi: object) -> Resolution | None:
    """A resolution that files can hold; else None."""
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    usable = all(math.isfinite(value) and 0 < value < 65536 for value in (across, down))
    return (across, down) if usable else None
