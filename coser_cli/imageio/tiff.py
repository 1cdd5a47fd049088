"""TIFF files by tifffile: every kind of sample, compression and layout → pixels.

Sections of TIFF 6.0: 22 and 23 for CIE L*a*b*, 21 for YCbCr, 18 for alpha.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from coser_cli.imageio.decoded import (
    Decoded,
    Numbers,
    from_floats,
    full_range,
    straight,
    upright,
)
from coser_cli.imageio.ifd import Layout
from coser_cli.imageio.photo import FloatArray, Samples
from coser_cli.size import Size

for _name in ("tifffile", "imagecodecs"):  # Python prints what no handler takes
    logging.getLogger(_name).addHandler(logging.NullHandler())
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _SEPARATED, _YCBCR, _CIELAB, _ICCLAB = (
    *(0, 1, 2, 3, 5, 6, 8, 9),
)
_COLOURS = {
    _WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _SEPARATED: 4, _YCBCR: 3,
    _CIELAB: 3, _ICCLAB: 3,
}  # fmt: skip
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_PREMULTIPLIED, _STRAIGHT = 1, 2
_REDUCED_OR_MASK = 1 | 4
_JPEGS = (6, 7)
_SUBSAMPLING = 530
_D50 = np.array([0.9642, 1.0, 0.8249], np.float32)
# XYZ under D50 → linear sRGB (ICC's sRGB, inverted).
_TO_SRGB = np.linalg.inv(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
).astype(np.float32)
_FLOATS_NOTE = "floating-point values are taken as they are from 0 (black) to 1 (white)"
_LAB_NOTE = "CIE L*a*b* is converted to RGB"


class NotReadError(ValueError):
    """A valid file of a kind that is not read."""


class TiffPage:
    """One picture of an open file."""

    def __init__(self, page: Any, count: int) -> None:
        self._page = page
        self.count = count
        self.offset: int = page.offset
        """Of its directory."""
        self.layout = Layout(page.parent.byteorder, page.parent.is_bigtiff)

    @property
    def size(self) -> Size:
        """As stored."""
        return Size(self._page.imagelength, self._page.imagewidth)

    def tag(self, number: int) -> Any:
        """The value of a tag; None where it has none."""
        entry = self._page.tags.get(number)
        return None if entry is None else entry.value

    def decode(self, orientation: int) -> Decoded:
        """Its pixels, turned upright from an `orientation` of 1 to 8.

        Raises `NotReadError`, or whatever decoders raise on damage.
        """
        page = self._page
        photometric = int(page.photometric)
        colours = _COLOURS.get(photometric)
        if colours is None:
            raise NotReadError(f"TIFF of kind {page.photometric.name} is not read")
        values = upright(self._samples(colours), orientation)
        values, alpha, premultiplied = self._split(values, colours)
        decoded = self._coloured(values, photometric)
        if premultiplied and alpha is not None:
            decoded = Decoded(straight(decoded.values, alpha), None, decoded.notes, decoded.is_srgb)
        return Decoded(decoded.values, alpha, decoded.notes, decoded.is_srgb)

    def _samples(self, colours: int) -> Numbers:
        """`(H, W, samples)`."""
        page = self._page
        if page.samplesperpixel < colours:
            raise NotReadError(f"a {page.photometric.name} TIFF of {page.samplesperpixel} samples")
        if int(page.sampleformat or _UNSIGNED) not in (_UNSIGNED, _SIGNED, _FLOAT):
            raise NotReadError("TIFF of complex numbers is not read")
        if (page.imagedepth or 1) > 1:
            raise NotReadError("TIFF of volumes is not read")
        _require_known(page)
        if int(page.photometric) == _YCBCR and int(page.compression) not in _JPEGS:
            self._require_full_chroma()
        self._require_whole()
        values: Numbers = page.asarray(maxworkers=1)
        if int(page.planarconfig or 1) == 2 and values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        return values.reshape(*self.size.hw, -1)

    def _require_full_chroma(self) -> None:
        if tuple(self.tag(_SUBSAMPLING) or (2, 2)) != (1, 1):  # TIFF 6.0: (2, 2) where it says none
            raise NotReadError("TIFF of subsampled YCbCr without JPEG compression is not read")

    def _require_whole(self) -> None:
        """Refuse what is cut off: decoders would leave it black."""
        page = self._page
        size = page.parent.filehandle.size
        ends = [at + n for at, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if not ends or max(ends) > size or 0 in page.databytecounts:
            raise EOFError("pixels are missing")

    def _split(self, values: Numbers, colours: int) -> tuple[Numbers, FloatArray | None, bool]:
        """Colours, alpha, and whether they are multiplied by it."""
        if values.shape[2] == colours:
            return values, None, False
        extra = tuple(int(each) for each in self._page.extrasamples)
        kind = extra[0] if extra else 0
        alpha = None
        if kind in (_PREMULTIPLIED, _STRAIGHT):
            samples = self._whole_numbers(values[..., colours])
            alpha = samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
        return values[..., :colours], alpha, kind == _PREMULTIPLIED

    def _whole_numbers(self, values: Numbers) -> Samples:
        """Samples of full range, of whichever type they are."""
        if np.issubdtype(values.dtype, np.floating):
            return from_floats(values)
        bits = self._bits
        if np.issubdtype(values.dtype, np.signedinteger):
            # what is below zero counts as black, as elsewhere
            values, bits = np.maximum(values, 0), bits - 1
        return full_range(values, bits)

    @property
    def _bits(self) -> int:
        bits = self._page.bitspersample
        return int(bits[0] if isinstance(bits, tuple) else bits)

    def _coloured(self, values: Numbers, photometric: int) -> Decoded:
        if photometric == _PALETTE:
            return Decoded(self._from_palette(values))
        if photometric in (_CIELAB, _ICCLAB):
            converted = from_floats(_lab_to_srgb(self._lab(values, photometric)))
            return Decoded(converted, notes=(_LAB_NOTE,), is_srgb=True)
        notes = (_FLOATS_NOTE,) if np.issubdtype(values.dtype, np.floating) else ()
        whole: Any = self._whole_numbers(values)
        if photometric == _WHITE_IS_ZERO:
            whole = (np.iinfo(whole.dtype).max - whole).astype(whole.dtype)
        if photometric == _YCBCR and int(self._page.compression) not in _JPEGS:
            whole = _from_ycbcr(whole)
        return Decoded(whole, notes=notes)

    def _from_palette(self, values: Numbers) -> Samples:
        palette = self._page.colormap
        colours: Any = np.asarray(palette)[:, values[..., 0]]
        if np.max(palette) > 255:  # some programs write 8 bits into the 16
            colours = colours >> 8
        return np.moveaxis(colours, 0, -1).astype(np.uint8)

    def _lab(self, values: Numbers, photometric: int) -> FloatArray:
        """L*, a* and b* in their own units."""
        bits = self._bits
        if bits not in (8, 16) or np.issubdtype(values.dtype, np.floating):
            raise NotReadError(f"CIE L*a*b* TIFF of {bits} bits is not read")
        step = 2.0 ** (bits - 8)
        unsigned = values.astype(np.uint8 if bits == 8 else np.uint16)
        light = unsigned[..., :1].astype(np.float32) * np.float32(100 / (2**bits - 1))
        if photometric == _ICCLAB:
            ab = unsigned[..., 1:].astype(np.float32) / np.float32(step) - 128
            if bits == 16:
                light = unsigned[..., :1].astype(np.float32) * np.float32(100 / 65280)
        else:
            signed = unsigned[..., 1:].view(np.int8 if bits == 8 else np.int16)
            ab = signed.astype(np.float32) / np.float32(step)
        return np.concatenate([light, ab], axis=-1)


def _require_known(page: Any) -> None:
    import tifffile

    number = int(page.compression)
    if number not in tifffile.TIFF.DECOMPRESSORS:
        name = getattr(page.compression, "name", str(number))
        raise NotReadError(f"TIFF with compression {name} is not read")


@contextmanager
def opened_tiff(path: Path, frame: int | None = None) -> Iterator[TiffPage]:
    """The `frame`-th picture of a file, counted from 0; None is the first.

    Reduced pictures and masks beside it do not count. Raises whatever damage makes tifffile raise.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        pages = [page.aspage() for page in file.pages]
        whole = [page for page in pages if not int(page.subfiletype) & _REDUCED_OR_MASK] or pages
        yield TiffPage(whole[frame or 0], len(whole))


def _lab_to_srgb(lab: FloatArray) -> FloatArray:
    """CIE L*a*b* under D50 → sRGB in [0, 1], not cut off."""
    middle = (lab[..., 0] + 16) / 116
    f = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * (108 / 841)) * _D50
    linear = np.clip(xyz @ _TO_SRGB.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)


def _from_ycbcr(values: Samples) -> Samples:
    """Rec. 601, full range."""
    top = np.iinfo(values.dtype).max
    y, b, r = np.moveaxis(values.astype(np.float32), -1, 0)
    b, r = b - (top + 1) // 2, r - (top + 1) // 2
    rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=-1)
    return np.rint(np.clip(rgb, 0, top)).astype(values.dtype)
