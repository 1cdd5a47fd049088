"""16-bit colour, and grey with alpha: what Pillow cannot hold, read and written by libvips.

Arrays are uint16 `(H, W, C)`: grey, grey and alpha, RGB, or RGB and alpha.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from coser_cli.imageio.sniff import BITS, EXTRA_SAMPLES, PHOTOMETRIC, SAMPLES, tiff_tags

if TYPE_CHECKING:
    import pyvips

WideArray = NDArray[np.uint16]
_ALPHA = (1, 2)  # TIFF 6.0, ExtraSamples: premultiplied (which libvips undoes), or not


def is_wide(image: Image.Image) -> bool:
    """Whether an opened PNG or TIFF has 16 bits that Pillow would cut or misread."""
    if image.format == "PNG":
        encoding = str([tile.args for tile in getattr(image, "tile", ())])
        return image.mode in ("RGB", "RGBA", "LA") and ";16" in encoding
    if image.format != "TIFF":
        return False
    tags = image.tag_v2  # type: ignore[attr-defined]
    if image.mode.startswith("I;16"):
        return bool(tags.get(PHOTOMETRIC) == 0)  # white is zero: Pillow leaves that inverted
    bits = tags.get(BITS, (8,))
    return image.mode in ("RGB", "RGBA", "RGBX") and set(bits) == {16}


def only_vips_reads(path: Path) -> bool:
    """Whether it is a TIFF of 16-bit grey with alpha, which Pillow does not open at all."""
    with path.open("rb") as file:
        tags = tiff_tags(file)
    two = tags.get(SAMPLES) == (2,) and tags.get(BITS) == (16, 16)
    return two and tags.get(PHOTOMETRIC) in ((0,), (1,))


def read_wide(path: Path, page: int = 0) -> WideArray:
    """The stored pixels of a 16-bit PNG or TIFF (not turned upright), alpha not premultiplied.

    Raises `OSError` where the file is damaged or has another kind of pixels.
    """
    with path.open("rb") as file:
        tags = tiff_tags(file) if page == 0 else {}
        file.seek(0)
        values = _decoded(file, page, is_png=file.read(4) == b"\x89PNG")
    extra = tags.get(EXTRA_SAMPLES)
    if not isinstance(extra, tuple):  # a PNG, or a TIFF of colours alone
        return values
    colours = values.shape[2] - len(extra)
    if extra[0] not in _ALPHA:
        return values[..., :colours]
    return values[..., : colours + 1]


def _decoded(file: BinaryIO, page: int, *, is_png: bool) -> WideArray:
    import pyvips

    try:
        source = pyvips.Source.new_from_descriptor(file.fileno())
        image: Any = (
            pyvips.Image.pngload_source(source, fail_on="error")
            if is_png
            else pyvips.Image.tiffload_source(source, page=page, fail_on="error")
        )
        if image.format != "ushort" or image.interpretation not in ("rgb16", "grey16"):
            raise OSError(f"pixels of type {image.interpretation} {image.format} are not read")
        values: WideArray = image.numpy()
    except pyvips.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise OSError(lines[1] if len(lines) > 1 else "libvips cannot decode it") from None
    return values[..., None] if values.ndim == 2 else values


def upright(values: WideArray, orientation: int) -> WideArray:
    """Pixels turned as EXIF's orientation 1 to 8 says."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def wide_to_srgb(colours: WideArray, icc: bytes) -> WideArray:
    """RGB in the profile's space → sRGB, at 16 bits. Raises `OSError` if the profile fails."""
    image = _image(colours, icc)
    return _converted(image, "icc_transform", "srgb", embedded=True, intent="relative", depth=16)


def wide_from_srgb(colours: WideArray, icc: bytes) -> WideArray:
    """RGB in sRGB → the profile's space, at 16 bits. Raises `OSError` if the profile fails."""
    image = _image(colours).icc_import(input_profile="srgb", intent="relative").copy()
    image.set_type(_blob(), "icc-profile-data", icc)
    return _converted(image, "icc_export", intent="relative", depth=16)


def _image(values: WideArray, icc: bytes | None = None) -> pyvips.Image:
    import pyvips

    grey = values.ndim == 2 or values.shape[-1] < 3
    space = "grey16" if grey else "rgb16"
    image: Any = pyvips.Image.new_from_array(np.ascontiguousarray(values), interpretation=space)
    if icc is not None:
        image = image.copy()
        image.set_type(_blob(), "icc-profile-data", icc)
    return image


def _blob() -> Any:
    import pyvips

    return pyvips.GValue.blob_type


def _converted(image: pyvips.Image, operation: str, *words: str, **options: Any) -> WideArray:
    import pyvips

    try:
        values: WideArray = getattr(image, operation)(*words, **options).numpy()
    except pyvips.Error as error:
        raise OSError(" ".join(str(error).split())) from None
    return values


def write_wide(file: BinaryIO, values: WideArray, name: str, kept: dict[str, Any]) -> None:
    """Write `(H, W, C)` as "PNG" or "TIFF".

    `kept` has what goes along: `icc_profile`, `exif` (bytes), `xmp` (bytes), `dpi`.
    """
    if name == "PNG":
        _write_png(file, values, kept)
    else:
        _write_tiff(file, values, kept)


def _write_png(file: BinaryIO, values: WideArray, kept: dict[str, Any]) -> None:
    """Pixels as libvips packs them; every other chunk is ours."""
    packed: bytes = _image(values).pngsave_buffer(compression=6)
    pixels = packed.index(b"IDAT") - 4
    file.write(packed[:33])  # signature and IHDR
    if icc := kept.get("icc_profile"):
        file.write(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if dpi := kept.get("dpi"):
        per_metre = (round(value / 0.0254) for value in dpi)
        file.write(_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if exif := kept.get("exif"):
        file.write(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if xmp := kept.get("xmp"):
        file.write(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    file.write(packed[pixels:])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _write_tiff(file: BinaryIO, values: WideArray, kept: dict[str, Any]) -> None:
    """One uncompressed strip; libvips would lose EXIF's directories, Pillow writes these."""
    height, width, channels = values.shape
    tags = ImageFileDirectory_v2()
    if exif := kept.get("exif"):
        described = Image.Exif()
        described.load(exif)
        for tag in described:
            nested = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
            tags[tag] = described.get_ifd(tag) if nested else described[tag]
    if xmp := kept.get("xmp"):
        tags[ExifTags.Base.XMLPacket] = xmp
    if icc := kept.get("icc_profile"):
        tags[ExifTags.Base.InterColorProfile] = icc
    if dpi := kept.get("dpi"):
        tags[ExifTags.Base.ResolutionUnit] = 2
        tags[ExifTags.Base.XResolution], tags[ExifTags.Base.YResolution] = dpi
    data = np.ascontiguousarray(values, dtype="<u2").tobytes()
    structure: dict[int, Any] = {
        ExifTags.Base.ImageWidth: width,
        ExifTags.Base.ImageLength: height,
        BITS: (16,) * channels,
        ExifTags.Base.Compression: 1,
        PHOTOMETRIC: 1 if channels < 3 else 2,
        SAMPLES: channels,
        ExifTags.Base.RowsPerStrip: height,
        ExifTags.Base.StripOffsets: 0,  # the writer of the directory adds where it ends
        ExifTags.Base.StripByteCounts: len(data),
    }
    if channels in (2, 4):
        structure[EXTRA_SAMPLES] = 2
    for tag, value in structure.items():
        tags[tag] = value
    tags.save(file)
    file.write(data)
