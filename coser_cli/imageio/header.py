"""What a picture file says before its pixels: size, frames, and what is kept of its metadata."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from coser_cli.imageio import sixteen_bit
from coser_cli.imageio.metadata import read_dpi, read_exif, read_orientation, read_xmp, usable
from coser_cli.imageio.opening import damaged, opened, picture_kind

_SIDEWAYS = (5, 6, 7, 8)
# The second picture of an MPO is a preview, a depth map or the other eye, and no frame.
_SINGLE = ("MPO",)


@dataclass(frozen=True)
class Header:
    """A file's metadata. `stored` is (width, height) as the pixels lie, `orientation` is EXIF's;
    `frames` how many pictures there are. The rest as in `Photo`.
    """

    stored: tuple[int, int]
    orientation: int = 1
    frames: int = 1
    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        width, height = self.stored
        return (height, width) if self.orientation in _SIDEWAYS else (width, height)


def read_header(path: Path, frame: int | None = None) -> Header:
    """A file's header, without decoding its pixels. Raises `InputError` as `read_photo` does."""
    kind = picture_kind(path)
    if kind == "TIFF" and frame is None and sixteen_bit.only_vips_reads(path):
        return header_of_tiff(path)
    with opened(path, kind, frame) as image:
        return header_of(path, image)


def header_of(path: Path, image: Image.Image) -> Header:
    """The header of an opened picture; before loading, which forgets parts of it."""
    try:
        return Header(
            image.size,
            read_orientation(image),
            1 if image.format in _SINGLE else getattr(image, "n_frames", 1),
            read_exif(image),
            read_xmp(image),
            image.info.get("icc_profile"),
            read_dpi(image),
        )
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged headers
        raise damaged(path, error) from None


def header_of_tiff(path: Path) -> Header:
    """The same of a TIFF that Pillow does not open, from its own tags."""
    tags = Image.Exif()
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags.load_from_fp(file)
            size = tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength]
            unit = {3: 2.54}.get(tags.get(ExifTags.Base.ResolutionUnit, 2), 1.0)
            axes = ExifTags.Base.XResolution, ExifTags.Base.YResolution
            stand_in = Image.new("L", (1, 1))
            stand_in.info["dpi"] = tuple(float(tags.get(axis, 0)) * unit for axis in axes)
            xmp = tags.get(ExifTags.Base.XMLPacket)
            return Header(
                size,
                _valid(tags.get(ExifTags.Base.Orientation)),
                exif=read_exif(tags),
                xmp=xmp if isinstance(xmp, bytes) and usable(xmp) else None,
                icc=tags.get(ExifTags.Base.InterColorProfile),
                dpi=read_dpi(stand_in),
            )
    except Exception as error:
        raise damaged(path, error) from None


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
