"""What a picture file says beside its pixels, and how that stays true after enlarging."""

from __future__ import annotations

import math
import struct

from PIL import ExifTags, Image

# EXIF shares its first directory with TIFF's own structure (sizes, strips, compression), which
# would corrupt the file it is copied into; so only what describes the photograph is taken over.
_KEPT = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
    ExifTags.Base.Rating,
)
_KEPT_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# What damaged EXIF makes Pillow raise while parsing or packing it.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error, OverflowError)


def read_exif(image: Image.Image | Image.Exif) -> bytes | None:
    """Descriptive EXIF tags of an opened picture, without orientation; None if none or damaged."""
    try:
        kept = Image.Exif()
        source = image if isinstance(image, Image.Exif) else image.getexif()
        kept.update({tag: source[tag] for tag in _KEPT if tag in source})
        for directory in _KEPT_DIRECTORIES:
            kept.get_ifd(directory).update(source.get_ifd(directory))
        has_any = len(kept) > 0 or any(kept.get_ifd(each) for each in _KEPT_DIRECTORIES)
        return kept.tobytes() if has_any else None
    except _DAMAGED:
        return None


def read_orientation(image: Image.Image) -> int:
    """EXIF's orientation of an opened picture (Pillow looks into XMP, too); 1 if it has none."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
        return 1
    return orientation if orientation in range(1, 9) else 1


def exif_for_size(exif: bytes | None, width: int, height: int) -> bytes | None:
    """The same EXIF with orientation 1 and the pixel sizes of the enlarged picture."""
    if exif is None:
        return None
    tags = Image.Exif()
    tags.load(exif)
    tags[ExifTags.Base.Orientation] = 1
    photo = tags.get_ifd(ExifTags.IFD.Exif)
    photo[ExifTags.Base.ExifImageWidth] = width
    photo[ExifTags.Base.ExifImageHeight] = height
    return tags.tobytes()


def read_dpi(image: Image.Image) -> tuple[float, float] | None:
    """Resolution in dots per inch, if the file gives a usable one."""
    try:
        across, down = (float(value) for value in image.info.get("dpi", (0, 0)))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    usable = all(math.isfinite(value) and 0 < value < 65536 for value in (across, down))
    return (across, down) if usable else None
