"""Pixels of every format, by the decoder that gets all of them: upright and of full range."""

from __future__ import annotations

import io
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from coser_cli.imageio import png
from coser_cli.imageio.decoded import Decoded, Numbers, full_range, upright
from coser_cli.imageio.header import OpenedFile
from coser_cli.imageio.photo import FloatArray
from coser_cli.size import Size

if TYPE_CHECKING:
    from coser_cli.imageio.gif import Animation

Animations = deque["Animation"]
"""Animations that were not read to their end; with a `maxlen`, of which the last ones stay."""

_NO_END = "the end mark is missing; all pixels are there"
_CUT_OFF = "the end of the file is missing; all pixels of this frame are there"
_BAD_CHECKSUM = "a checksum of its pixels is wrong; the pixels are whole"
_EOI = b"\xff\xd9"
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I")


def decode(
    path: Path, file: OpenedFile, frame: int | None, animations: Animations | None = None
) -> Decoded:
    """The pixels of an opened file; see `read_photo`. Raises whatever decoders raise on damaged
    data.
    """
    orientation = file.header.orientation
    if file.page is not None:
        return file.page.decode(orientation)
    if file.image is None:
        return _turned(_special_jpeg(path), orientation)
    if file.kind == "PNG" and not frame:
        return _turned(_png(path, file.image), orientation)
    if file.kind == "AVIF" and file.header.bits > 8 and not frame:
        return _turned(_deep_avif(path, file.header.bits), orientation)
    if file.kind == "HEIF" and file.header.bits > 8:
        return _deep_heif(path, frame or 0)
    if file.kind == "GIF":
        return _turned(_gif(path, file, frame or 0, animations), orientation)
    image = file.image
    notes: tuple[str, ...] = ()
    try:
        image.load()
    except OSError:
        if file.kind != "JPEG":
            raise
        image, notes = _without_end(path), (_NO_END,)
    values, alpha = _of_pillow(image)
    return _turned(Decoded(values, alpha, notes), orientation)


def _gif(path: Path, file: OpenedFile, frame: int, animations: Animations | None) -> Decoded:
    """A frame on the canvas; grey where the first table is and nothing has added colour."""
    from coser_cli.imageio.gif import Animation

    assert file.image is not None
    animation = None
    with suppress(IndexError):
        animation = None if animations is None else animations.pop()
    if animation is None or not animation.has_ahead(path, frame):
        animation = Animation(path, Size.of_wh(file.image.size))
    rgba, has_transparency = animation.frame(frame)
    if animations is not None and frame + 1 < file.header.frames:
        animations.append(animation)
    alpha = rgba[..., 3].astype(np.float32) / np.float32(255) if has_transparency else None
    colours = rgba[..., :3]
    grey = file.image.mode in _GREY_MODES and bool((colours == colours[..., :1]).all())
    notes = (_CUT_OFF,) if animation.is_cut_off else ()
    return Decoded(colours[..., :1] if grey else colours, alpha, notes)


def _turned(decoded: Decoded, orientation: int) -> Decoded:
    alpha = decoded.alpha
    values: Any = upright(decoded.values, orientation)
    return Decoded(
        np.ascontiguousarray(values),
        None if alpha is None else np.ascontiguousarray(upright(alpha, orientation)),
        decoded.notes,
    )


def _of_pillow(image: Image.Image) -> tuple[Any, FloatArray | None]:
    """8-bit grey, RGB or CMYK of a loaded picture, and alpha where it has any transparency."""
    grey, alpha = image.mode in _GREY_MODES, None
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint16)
        return values[..., None], None
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A")).astype(np.float32) / np.float32(255)
        image = rgba.convert("RGB")
    if image.mode != "CMYK":
        image = image.convert("L" if grey else "RGB")
    values = np.asarray(image)
    return (values[..., None] if grey else values), alpha


def _png(path: Path, image: Image.Image) -> Decoded:
    """By libvips, which has every depth and every kind of transparency."""
    stream = getattr(image, "fp", None)
    repaired = stream if isinstance(stream, io.BytesIO) else None
    import pyvips

    notes: tuple[str, ...] = ()
    try:
        if repaired is not None:
            opened = pyvips.Image.pngload_buffer(repaired.getvalue(), fail_on="error").copy_memory()
        else:
            with path.open("rb") as file:
                source = pyvips.Source.new_from_descriptor(file.fileno())
                opened = pyvips.Image.pngload_source(source, fail_on="error").copy_memory()
    except pyvips.Error:
        stored = path.read_bytes() if repaired is None else repaired.getvalue()
        data = png.with_right_checksums(stored)
        if data is None:
            raise
        opened, notes = pyvips.Image.pngload_buffer(data, fail_on="error"), (_BAD_CHECKSUM,)
    return _with_alpha(opened.numpy(), notes)


def _without_end(path: Path) -> Image.Image:
    """A JPEG with the end mark that it lacks; raises OSError where pixels are missing, too."""
    import pyvips

    data = path.read_bytes().rstrip(b"\xff") + _EOI
    try:  # of libjpeg's warnings, one is that it had to invent pixels
        pyvips.Image.jpegload_buffer(data, fail_on="warning").avg()
    except pyvips.Error:
        raise OSError("pixels are missing") from None
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def _special_jpeg(path: Path) -> Decoded:
    """12 bits, or coded without loss: what common decoders do not have."""
    from imagecodecs import jpeg8_decode

    from coser_cli.imageio.jpeg import read_jpeg_header

    values: Numbers = jpeg8_decode(path.read_bytes())
    bits = read_jpeg_header(path).bits
    whole = full_range(values, bits)
    return Decoded(whole[..., None] if whole.ndim == 2 else whole)


def _deep_avif(path: Path, bits: int) -> Decoded:
    from imagecodecs import avif_decode

    return _with_alpha(full_range(avif_decode(path.read_bytes()), bits))


def _deep_heif(path: Path, frame: int) -> Decoded:
    import pillow_heif

    file = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)[frame]
    values: Any = np.asarray(file)
    bits = int(file.info["bit_depth"])
    return _with_alpha(full_range(values >> (16 - bits), bits))  # they stand in the upper bits


def _with_alpha(values: Any, notes: tuple[str, ...] = ()) -> Decoded:
    """Channels apart: grey, grey and alpha, RGB, RGB and alpha."""
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[2] in (1, 3):
        return Decoded(values, notes=notes)
    top = np.float32(np.iinfo(values.dtype).max)
    return Decoded(values[..., :-1], values[..., -1].astype(np.float32) / top, notes)
