"""What a picture file says before its pixels: size, frames, and what is kept of its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from coser_cli.errors import CoserError
from coser_cli.imageio import ifd, jpeg, png
from coser_cli.imageio.bmff import read_item_properties
from coser_cli.imageio.metadata import FileInfo, of_jpeg, of_pillow, of_png, of_tiff
from coser_cli.imageio.opening import damaged, opened, picture_kind, unreadable
from coser_cli.imageio.tiff import NotReadError, TiffPage, opened_tiff
from coser_cli.size import Size

_ORIENTATION = 274
_SIDEWAYS = (5, 6, 7, 8)
# The second picture of an MPO is a preview, a depth map or the other eye, and no frame.
_SINGLE = ("MPO",)
# Decoders of these turn the picture themselves.
_TURNED = ("HEIF",)
_NCLX = ("color_primaries", "transfer_characteristics")


@dataclass(frozen=True)
class Header:
    """`stored` is the size as the pixels lie, `orientation` is EXIF's; `frames` how many pictures
    there are. `info` is all else. `bits` of samples, where Pillow would cut them.
    """

    stored: Size
    orientation: int = 1
    frames: int = 1
    info: FileInfo = field(default_factory=FileInfo)
    bits: int = 8

    @property
    def size(self) -> Size:
        """That of the upright picture."""
        return self.stored.turned if self.orientation in _SIDEWAYS else self.stored


@dataclass(frozen=True)
class OpenedFile:
    """A file whose header was read: a TIFF's page, or Pillow's picture; a JPEG that Pillow does
    not know has neither.
    """

    kind: str | None
    header: Header
    page: TiffPage | None = None
    image: Image.Image | None = None


def read_header(path: Path, frame: int | None = None) -> Header:
    """A file's header, without decoding its pixels. Raises `InputError` as `read_photo` does."""
    with opened_file(path, frame) as file:
        return file.header


@contextmanager
def opened_file(path: Path, frame: int | None = None) -> Iterator[OpenedFile]:
    """The file, its header read. Raises `InputError`."""
    kind = picture_kind(path)
    if kind == "TIFF":
        with _tiff_errors(path), opened_tiff(path, frame) as page:
            yield OpenedFile(kind, _header_of_tiff(path, page), page=page)
        return
    if kind == "JPEG":
        segments = jpeg.read_jpeg_header(path)
        if segments.is_special:
            info = of_jpeg(segments)
            orientation = info.metadata.orientation
            yield OpenedFile(kind, Header(segments.size, orientation, info=info))
            return
    chunks = _png_header(path) if kind == "PNG" else None
    source = png.without_damage(path) if chunks is not None and chunks.damaged else path
    with opened(path, kind, frame, source) as image:
        try:
            if chunks is not None:
                info = of_png(chunks, grey=image.mode in ("1", "L", "LA", "I", "I;16"))
            elif kind == "JPEG":
                info = of_jpeg(segments)
            else:
                info = of_pillow(image.info)
            header = _header_of_image(path, kind, image, info)
        except (CoserError, MemoryError):
            raise
        except Exception as error:  # decoders raise anything on damaged headers
            raise damaged(path, error) from None
        yield OpenedFile(kind, header, image=image)


def _header_of_image(path: Path, kind: str | None, image: Image.Image, info: FileInfo) -> Header:
    orientation, bits = info.metadata.orientation, 8
    if kind == "AVIF":
        properties = read_item_properties(path)
        bits, info = properties.bits, of_pillow(image.info, properties.code_points)
    elif kind == "HEIF":
        nclx = image.info.get("nclx_profile") or {}
        points = tuple(int(nclx[name]) for name in _NCLX if name in nclx)
        info = of_pillow(image.info, (points[0], points[1]) if len(points) == 2 else None)
        bits = int(image.info.get("bit_depth", 8))
    frames = 1 if image.format in _SINGLE else getattr(image, "n_frames", 1)
    size = Size.of_wh(image.size)
    return Header(size, 1 if kind in _TURNED else orientation, frames, info, bits)


def _png_header(path: Path) -> png.PngHeader:
    try:
        return png.read_png_header(path)
    except png.UnknownCriticalChunkError as error:
        kind = "Apple's own kind of PNG" if str(error) == "CgBI" else f"PNG with a chunk {error}"
        raise unreadable(path, f"{kind} is not read", "convert it to plain PNG") from None
    except OSError as error:
        raise damaged(path, error) from None


def _header_of_tiff(path: Path, page: TiffPage) -> Header:
    with path.open("rb") as file:
        info = of_tiff(page.tag, ifd.from_file(file), page.offset, page.layout)
    value = page.tag(_ORIENTATION)
    valid = isinstance(value, int) and 1 <= value <= 8
    orientation = value if valid else info.metadata.orientation
    return Header(page.size, orientation, page.count, info)


@contextmanager
def _tiff_errors(path: Path) -> Iterator[None]:
    """Say which file it is, and whether it is damaged or of a kind that is not read."""
    try:
        yield
    except (CoserError, MemoryError):
        raise
    except NotReadError as error:
        raise unreadable(path, str(error), "save it as RGB with 8 or 16 bits") from None
    except Exception as error:  # tifffile and its decoders raise anything on damaged files
        raise damaged(path, error) from None
