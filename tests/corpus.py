"""Odd picture files, made here, each with its stated outcome: one table, read by several tests."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyvips
from PIL import ExifTags, Image, ImageCms

SIZE = (13, 9)
Make = Callable[[Path], None]
Floats = np.ndarray


@dataclass(frozen=True)
class Odd:
    """A file `name`, made by `make`, and what must become of it.

    `size` is the upright source's; `mode` Pillow's of the PNG written (16-bit colour shows as
    `RGB16`, `RGBA16`, `LA16`). `failure` are words of the message where it is refused.
    `note` are words of a note, or None: no note.
    `shows` are the colours `(H, W, C)` in [0, 1] of the result at scale 1, where they are known
    otherwise than by another decoder; `within` is how far off they may be, in levels of the
    result's depth.
    """

    name: str
    make: Make
    size: tuple[int, int] = SIZE
    mode: str = "RGB"
    failure: str | None = None
    note: str | None = None
    shows: Floats | None = field(default=None, compare=False)
    within: float = 0.5001

    @property
    def fails(self) -> bool:
        return self.failure is not None


def picture(mode="RGB", size=SIZE):
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    rgb = np.stack([x, y, (x + y) / 2], axis=-1)
    return Image.fromarray(np.rint(rgb * 255).astype(np.uint8)).convert(mode)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def saved(format, image=None, **options):
    """Makes the picture with Pillow."""
    return lambda path: (image or picture()).save(path, format=format, **options)


def holding(data: bytes) -> Make:
    """Makes a file of these bytes."""
    return lambda path: path.write_bytes(data) and None


def reopened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def packed(format, image=None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, format=format, **options)
    return buffer.getvalue()


def cut(format, share) -> Make:
    """Makes the first `share` of a picture file."""
    data = packed(format, Image.fromarray(noise(64, 64, 3)))
    return holding(data[: int(len(data) * share)])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour_type, rows, *more) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def png16(values) -> bytes:
    """`(H, W, C)` uint16 → PNG: grey, grey and alpha, RGB or RGBA."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, kind, rows)


def tiff(values, *, photometric=None, order="<", planar=False, tags=()) -> bytes:
    """`(H, W, C)` → an uncompressed TIFF; `tags` are more (number, type, values), or other ones."""
    height, width, channels = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    laid = values.transpose(2, 0, 1) if planar else values
    data = laid.astype(values.dtype.newbyteorder(order)).tobytes()
    strips = channels if planar else 1
    entries = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [values.dtype.itemsize * 8] * channels),
        259: (3, [1]),
        262: (3, [(1 if channels < 3 else 2) if photometric is None else photometric]),
        273: (4, [8 + len(data) // strips * strip for strip in range(strips)]),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(data) // strips] * strips),
        284: (3, [2 if planar else 1]),
        339: (3, [kind] * channels),
    } | {number: (type_, values) for number, type_, values in tags}
    body = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data)) + data
    end = len(body) + 2 + 12 * len(entries) + 4
    directory, beyond = struct.pack(order + "H", len(entries)), b""
    for number, (type_, content) in sorted(entries.items()):
        code = {1: "B", 2: "B", 3: "H", 4: "I"}[type_]
        field = struct.pack(f"{order}{len(content)}{code}", *content)
        if len(field) > 4:
            offset = struct.pack(order + "I", end + len(beyond))
            beyond += field
            field = offset
        directory += struct.pack(order + "HHI", number, type_, len(content)) + field.ljust(4, b"\0")
    return body + directory + b"\0\0\0\0" + beyond


def oriented(orientation) -> Make:
    """Makes a JPEG that is 13 wide and 9 high once it is turned upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    size = SIZE if orientation < 5 else SIZE[::-1]
    return saved("JPEG", picture(size=size), exif=exif)


@cache
def srgb() -> bytes:
    """One profile for all: each that is made bears the time of day."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def cmyk_profile() -> bytes:
    return pyvips.Operation.call("profile_load", "cmyk")


def frames(format, mode="RGB") -> Make:
    colours = ("red", "lime", "blue")
    images = [Image.new("RGB", SIZE, colour).convert(mode) for colour in colours]
    return saved(format, images[0], save_all=True, append_images=images[1:])


def vips(name, **options) -> Make:
    """Makes it with libvips, for what Pillow cannot write."""

    def make(path: Path) -> None:
        image = pyvips.Image.new_from_array(np.asarray(picture()))
        path.write_bytes(image.write_to_buffer(name, **options))

    return make


def nikon(path: Path) -> None:
    make = list(b"NIKON CORPORATION\0")
    path.write_bytes(tiff(noise(9, 13, 3), tags=[(271, 2, make), (330, 4, [8])]))


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def linked(path: Path) -> None:
    hidden = path.parent / ".hidden-original"
    picture().save(hidden, format="PNG")
    path.symlink_to(hidden.name)


def secret(path: Path) -> None:
    picture().save(path, format="PNG")
    path.chmod(0)


def bad_checksum(kind: bytes) -> bytes:
    """A PNG in which the checksum of the first chunk of this kind is wrong."""
    data = bytearray(packed("PNG"))
    at = data.index(kind)
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 4 + length] ^= 0xFF
    return bytes(data)


def fractions(values):
    """Whole numbers of full range in [0, 1]."""
    return values / np.iinfo(values.dtype).max


def without_ink(cmyk):
    """The light that inks in [0, 1] leave."""
    return (1 - cmyk[..., :3]) * (1 - cmyk[..., 3:])


def shown_by_profile(make_image, profile):
    """RGB of a CMYK picture by its profile (relative, as everywhere)."""
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    from_, to = io.BytesIO(profile), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(make_image, from_, to, intent, outputMode="RGB")
    return fractions(np.asarray(image))


def bad_data() -> bytes:
    """A PNG in which a byte of the pixels is wrong."""
    data = bytearray(packed("PNG", Image.fromarray(noise(64, 64, 3))))
    data[data.index(b"IDAT") + 2000] ^= 0xFF
    return bytes(data)


W16 = noise(9, 13, 4, dtype=np.uint16)
U32 = noise(9, 13, 1, dtype=np.uint32)
MANY = noise(9, 13, 42)
COLOURS = fractions(np.asarray(picture()))
GUESSED = "CMYK without a usable profile"
FLOAT = np.random.default_rng(0).random((9, 13, 3)).astype(np.float32)
DAMAGED = "damaged|not a picture"
RAW = "camera RAW is not read"
FIRST = "only the first frame"
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

CORPUS: tuple[Odd, ...] = (
    # Every format that is read.
    *(
        Odd(f"plain.{suffix}", saved(format))
        for format, suffix in (
            *(("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tif")),
            *(("BMP", "bmp"), ("GIF", "gif"), ("AVIF", "avif")),
        )
    ),
    # The content counts, and not the name.
    Odd("png called.jpg", saved("PNG")),
    Odd("jpeg_without_extension", saved("JPEG")),
    Odd("webp called.tif", saved("WEBP")),
    Odd("text.jpg", holding(b"hello"), failure="not a picture"),
    Odd("page.png", holding(b"<html><body>quota</body></html>"), failure="not a picture"),
    # Cut off.
    *(
        Odd(f"cut_{int(share * 100)}.{format.lower()}", cut(format, share), failure=DAMAGED)
        for format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
        for share in (0.02, 0.1, 0.5, 0.9)
    ),
    Odd("cut16.png", holding(png16(W16[..., :3])[:200]), failure=DAMAGED),
    Odd("cut16.tif", holding(tiff(W16[..., :3])[:300]), failure=DAMAGED),
    Odd("zero.png", lambda path: path.touch(), failure="empty"),
    Odd("zeros.png", holding(b"\0" * 4096), failure="not a picture"),
    Odd("bad_checksum.png", holding(bad_checksum(b"IHDR")), failure=DAMAGED),
    Odd(
        "bad_data_checksum.png",
        holding(bad_checksum(b"IDAT")),
        note="a checksum of its pixels is wrong; the pixels are whole",
        shows=COLOURS,
    ),
    Odd("bad_data.png", holding(bad_data()), failure=DAMAGED),
    Odd("magic_only.jpg", holding(b"\xff\xd8\xff"), failure=DAMAGED),
    Odd("tail.jpg", holding(packed("JPEG") + b"\0" * 999)),
    Odd("huge_header.png", holding(png(60000, 60000, 8, 2, b"")), failure="too many pixels"),
    Odd("large_header.png", holding(png(9000, 9000, 8, 2, b"")), failure="damaged|million"),
    Odd("no_width.png", holding(png(0, 9, 8, 2, b"")), failure=DAMAGED),
    # Sizes.
    Odd("one.png", saved("PNG", picture(size=(1, 1))), size=(1, 1)),
    Odd("tall.png", saved("PNG", picture(size=(1, 4000))), size=(1, 4000)),
    Odd("wide.png", saved("PNG", picture(size=(4000, 1))), size=(4000, 1)),
    # Kinds of pixels.
    Odd("one_bit.png", saved("PNG", picture("1")), mode="L"),
    Odd("one_bit.tif", saved("TIFF", picture("1")), mode="L"),
    Odd("grey.jpg", saved("JPEG", picture("L")), mode="L"),
    Odd("grey_alpha.png", saved("PNG", picture("LA")), mode="LA"),
    Odd("palette.gif", saved("GIF", picture("P"))),
    Odd("palette_hole.png", saved("PNG", picture("P"), transparency=3), mode="RGBA"),
    Odd("palette_alpha.png", saved("PNG", picture("RGBA").quantize(16)), mode="RGBA"),
    Odd("alpha.webp", saved("WEBP", Image.new("RGBA", SIZE, (9, 8, 7, 99))), mode="RGBA"),
    Odd("alpha.avif", saved("AVIF", Image.new("RGBA", SIZE, (9, 8, 7, 99))), mode="RGBA"),
    Odd("cmyk.jpg", saved("JPEG", picture("CMYK")), note=GUESSED, shows=COLOURS, within=4),
    Odd(
        "cmyk_profile.jpg",
        saved("JPEG", picture("CMYK"), icc_profile=cmyk_profile()),
        note="CMYK is converted to RGB",
        shows=shown_by_profile(reopened(packed("JPEG", picture("CMYK"))), cmyk_profile()),
        within=1,
    ),
    Odd("cmyk.tif", saved("TIFF", picture("CMYK")), note=GUESSED, shows=COLOURS),
    Odd("ycc.tif", saved("TIFF", picture("YCbCr"))),
    Odd(
        "lab.tif",
        saved("TIFF", picture("LAB")),
        mode="RGB16",
        note=r"L\*a\*b\* is converted",
        shows=COLOURS,
        within=19 * 257,  # what one step of 8-bit L*a*b* is worth in a dark channel
    ),
    Odd("float.tif", holding(tiff(FLOAT)), mode="RGB16", note="floating-point", shows=FLOAT),
    Odd(
        "float_grey.tif",
        holding(tiff(FLOAT[..., :1])),
        mode="I;16",
        note="floating-point",
        shows=FLOAT[..., :1],
    ),
    Odd("int32.tif", holding(tiff(U32)), mode="I;16", shows=fractions(U32)),
    Odd("progressive.jpg", saved("JPEG", progressive=True)),
    Odd("interlaced.png", vips(".png", interlace=True)),
    Odd("tiled.tif", vips(".tif", tile=True, compression="deflate")),
    Odd("large.tif", vips(".tif", bigtiff=True)),
    # 16 bits.
    Odd("grey16.png", holding(png16(W16[..., :1])), mode="I;16"),
    Odd("grey16.tif", holding(tiff(W16[..., :1])), mode="I;16"),
    Odd("negative16.tif", holding(tiff(W16[..., :1], photometric=0)), mode="I;16"),
    Odd("grey_alpha16.png", holding(png16(W16[..., :2])), mode="LA16"),
    Odd("grey_alpha16.tif", holding(tiff(W16[..., :2], tags=[(338, 3, [2])])), mode="LA16"),
    Odd("rgb16.png", holding(png16(W16[..., :3])), mode="RGB16"),
    Odd("rgba16.png", holding(png16(W16)), mode="RGBA16"),
    Odd("rgb16.tif", holding(tiff(W16[..., :3])), mode="RGB16"),
    Odd("rgb16_big_endian.tif", holding(tiff(W16[..., :3], order=">")), mode="RGB16"),
    Odd("rgb16_planes.tif", holding(tiff(W16[..., :3], planar=True)), mode="RGB16"),
    Odd("rgba16.tif", holding(tiff(W16, tags=[(338, 3, [2])])), mode="RGBA16"),
    Odd(
        "premultiplied16.tif",
        holding(tiff(W16, tags=[(338, 3, [1])])),
        mode="RGBA16",
        shows=np.dstack([np.minimum(W16[..., :3] / W16[..., 3:], 1), fractions(W16[..., 3:])]),
    ),
    Odd("rgb_and_other16.tif", holding(tiff(W16, tags=[(338, 3, [0])])), mode="RGB16"),
    Odd(
        "cmyk16.tif",
        holding(tiff(W16, photometric=5)),
        mode="RGB16",
        note=GUESSED,
        shows=without_ink(fractions(W16)),
        within=0.51,
    ),
    Odd("many.tif", holding(tiff(MANY, photometric=2)), shows=fractions(MANY[..., :3])),
    # Several pictures in one file.
    Odd("frames.gif", frames("GIF"), note=FIRST),
    Odd("frames.webp", frames("WEBP"), note=FIRST),
    Odd("frames.png", frames("PNG"), note=FIRST),
    Odd("pages.tif", frames("TIFF"), note=FIRST),
    Odd("two.mpo", frames("MPO")),
    # Metadata.
    *(Odd(f"orientation_{number}.jpg", oriented(number)) for number in range(1, 9)),
    Odd("damaged_profile.png", saved("PNG", icc_profile=b"nonsense"), note="profile is damaged"),
    Odd(  # sRGB is what counts without a profile, too
        "wrong_profile.png",
        saved("PNG", picture("L"), icc_profile=srgb()),
        mode="L",
        shows=fractions(np.asarray(picture("L"))[..., None]),
    ),
    Odd(
        "cmyk_profile.png",
        saved("PNG", picture("L"), icc_profile=cmyk_profile()),
        mode="L",
        note="does not fit",
        shows=fractions(np.asarray(picture("L"))[..., None]),
    ),
    Odd(
        "damaged_exif.jpg",
        saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x0f\x01"),
        note="EXIF data is damaged and was left out",
    ),
    Odd("damaged_xmp.jpg", saved("JPEG", xmp=b"\xff\xfe\0<")),
    # Never read, by name.
    Odd("a.cr2", holding(b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 99), failure=RAW),
    Odd("a.cr3", holding(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"), failure=RAW),
    Odd("a.raf", holding(b"FUJIFILMCCD-RAW 0201"), failure=RAW),
    Odd("a.orf", holding(b"IIRO\x08\0\0\0" + b"\0" * 99), failure=RAW),
    Odd("a.rw2", holding(b"IIU\0\x18\0\0\0" + b"\0" * 99), failure=RAW),
    Odd("a.nef", nikon, failure=RAW),
    Odd("nef called.tif", nikon, failure=RAW),
    Odd("dng.tif", holding(tiff(noise(9, 13, 3), tags=[(50706, 1, [1, 4, 0, 0])])), failure=RAW),
    Odd("a.arw", holding(tiff(noise(9, 13, 3))), failure=RAW),
    Odd("a.jxl", holding(b"\xff\x0a" + b"\0" * 99), failure="JPEG XL is not read"),
    Odd("a.jp2", saved("JPEG2000"), failure="JPEG 2000 is not read"),
    Odd("a.psd", holding(b"8BPS\0\1" + b"\0" * 99), failure="Photoshop is not read"),
    Odd("a.pdf", holding(b"%PDF-1.7\n"), failure="PDF is not read"),
    Odd("a.svg", holding(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), failure="SVG is not read"),
    Odd("a.exr", holding(b"v/1\x01" + b"\0" * 99), failure="OpenEXR is not read"),
    Odd("a.heic", holding(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), failure="plug-in|damaged"),
    # What is no file of its own.
    Odd("link.png", linked),
    Odd("dangling.png", dangling, failure="no such file"),
    Odd("loop.png", loop, failure="too many levels|no such file"),
    Odd("pipe.png", lambda path: os.mkfifo(path), failure="not a regular file"),
    Odd("secret.png", secret, **({} if ROOT else {"failure": "permission denied"})),
    # Names.
    Odd("a b  c.png", saved("PNG")),
    Odd("new\nline.png", saved("PNG")),
    Odd("[b]x[i]*?.png", saved("PNG")),
    Odd("-s.png", saved("PNG")),
    Odd("--help.png", saved("PNG")),
    Odd('it\'s "50%" {stem}.png', saved("PNG")),
    Odd("ä€😀.png", saved("PNG")),
    Odd("no text \udce9.png", saved("PNG")),
    Odd("two.dots.png", saved("PNG")),
    Odd(f"{'n' * 251}.png", saved("PNG"), failure="too long"),
)
