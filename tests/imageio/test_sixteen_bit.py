"""16-bit colour: values, profiles and metadata through real files."""

import io

import numpy as np
import pytest
import pyvips
import tifffile
from corpus import png16, srgb, tiff
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from coser_cli.imageio.exif import usable_exif
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.read import read_photo
from coser_cli.imageio.write import write_photo

RNG = np.random.default_rng(0)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'


def values(*shape):
    return RNG.integers(0, 65536, shape, dtype=np.uint16)


def swapped_profile():
    """sRGB's profile with its green and blue columns exchanged."""
    profile = bytearray(srgb())
    green, blue = profile.index(b"gXYZ"), profile.index(b"bXYZ")
    profile[green : green + 4], profile[blue : blue + 4] = b"bXYZ", b"gXYZ"
    at = profile.index("sRGB".encode("utf-16-be"))
    profile[at : at + 8] = "Swap".encode("utf-16-be")
    return bytes(profile)


def write_stored(path, pixels, icc):
    """Values as they are, under a profile."""
    floats = (pixels / 65535).transpose(2, 0, 1).astype(np.float32)
    write_photo(path, floats, Photo(floats, bit_depth=16, icc=icc, convert=False, grey=False))


def kept_metadata():
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright] = "me"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:01 00:00:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (1.0, 2.0, 3.5)
    said = Metadata(usable_exif(exif.tobytes()), XMP, dpi=(300.0, 150.0))
    return {"metadata": said, "icc": srgb()}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_round_trip_with_everything(tmp_path, suffix, channels):
    pixels = values(7, 5, channels)
    colours = pixels[..., : 1 if channels < 3 else 3]
    alpha = pixels[..., -1] | 1 if channels in (2, 4) else None  # nothing quite transparent
    floats = np.broadcast_to(colours / 65535, (7, 5, 3)).transpose(2, 0, 1).astype(np.float32)
    source = Photo(
        floats,
        alpha=None if alpha is None else (alpha / 65535).astype(np.float32),
        grey=channels < 3,
        bit_depth=16,
        **kept_metadata(),
    )
    if channels < 3:
        source = Photo(**{**source.__dict__, "icc": None})
    write_photo(tmp_path / f"a{suffix}", floats, source)
    back = read_photo(tmp_path / f"a{suffix}")
    assert back.bit_depth == 16
    assert back.grey == (channels < 3)
    assert np.array_equal(np.rint(back.pixels * 65535), np.rint(floats * 65535))
    if alpha is not None:
        assert np.array_equal(np.rint(back.alpha * 65535), alpha)
    assert back.icc == source.icc
    assert back.metadata.xmp == XMP
    assert np.allclose(back.metadata.dpi, (300, 150), atol=0.02)  # PNG counts per metre
    tags = Image.Exif()
    tags.load(back.metadata.exif)
    assert tags[ExifTags.Base.Copyright] == "me"
    photo, place = tags.get_ifd(ExifTags.IFD.Exif), tags.get_ifd(ExifTags.IFD.GPSInfo)
    assert ExifTags.Base.ExifImageWidth not in photo  # what it does not say is not added
    assert photo[ExifTags.Base.DateTimeOriginal] == "2020:01:01 00:00:00"
    assert place[ExifTags.GPS.GPSLatitude] == (1.0, 2.0, 3.5)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_other_programs_read_it(tmp_path, suffix):
    pixels = values(7, 5, 3)
    floats = (pixels / 65535).transpose(2, 0, 1).astype(np.float32)
    write_photo(tmp_path / f"a{suffix}", floats, Photo(floats, bit_depth=16, **kept_metadata()))
    assert np.array_equal(pyvips.Image.new_from_file(str(tmp_path / f"a{suffix}")).numpy(), pixels)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.getexif()[ExifTags.Base.Copyright] == "me"
        assert image.info["icc_profile"] == srgb()
        assert image.info["xmp"].rstrip(b"\0") == XMP


def test_profile_is_converted_and_converted_back(tmp_path):
    icc = swapped_profile()
    pixels = np.full((4, 6, 3), (20000, 60000, 3000), dtype=np.uint16)
    write_stored(tmp_path / "a.png", pixels, icc)
    photo = read_photo(tmp_path / "a.png")
    assert photo.convert
    # Its green is our blue.
    assert np.allclose(photo.pixels[:, 0, 0] * 65535, (20000, 3000, 60000), atol=400)
    write_photo(tmp_path / "b.tif", photo.pixels, photo)
    back = pyvips.Image.new_from_file(str(tmp_path / "b.tif")).numpy()
    assert np.abs(back.astype(int) - pixels).max() < 200  # of 65535, twice through the tables
    with Image.open(tmp_path / "b.tif") as image:
        assert image.info["icc_profile"] == icc


@pytest.mark.parametrize("icc", [b"nonsense", "CMYK", "GRAY"])
def test_profile_that_does_not_fit_is_ignored_and_said(tmp_path, icc):
    if icc == "CMYK":
        icc = pyvips.Operation.call("profile_load", "cmyk")
    elif icc == "GRAY":
        icc = grey_profile()
    tifffile.imwrite(tmp_path / "a.tif", values(4, 6, 3), photometric="rgb", iccprofile=icc)
    photo = read_photo(tmp_path / "a.tif")
    assert photo.icc is None
    assert len(photo.notes) == 1
    assert "profile" in photo.notes[0]


def grey_profile():
    """The header of a profile says what space it is for; the rest is sRGB's."""
    profile = bytearray(srgb())
    profile[16:20] = b"GRAY"
    assert ImageCms.ImageCmsProfile(io.BytesIO(bytes(profile))).profile.xcolor_space == "GRAY"
    return bytes(profile)


def test_premultiplied_colours_are_divided(tmp_path):
    stored = np.array([[[10000, 20000, 0, 32768], [0, 0, 0, 0]]], dtype=np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff(stored, tags=[(338, 3, [1])]))
    photo = read_photo(tmp_path / "a.tif")
    assert np.allclose(photo.pixels[:, 0, 0] * 65535, (19999.7, 39999.4, 0), atol=1)
    assert photo.pixels[0, 0, 1] == photo.pixels[0, 0, 0]  # what is hidden takes what is seen


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".bmp"])
def test_formats_of_8_bits_take_it_rounded(tmp_path, suffix):
    floats = np.full((3, 8, 8), 0.4, dtype=np.float32)
    write_photo(tmp_path / f"a{suffix}", floats, Photo(floats, bit_depth=16))
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 102).max() <= 2


@given(st.integers(0, 400))
def test_cut_anywhere_it_is_refused_in_words(tmp_path_factory, length):
    from coser_cli.errors import InputError

    folder = tmp_path_factory.mktemp("cut")
    for data in (png16(values(5, 7, 3)), tiff(values(5, 7, 4), tags=[(338, 3, [2])])):
        (folder / "a").write_bytes(data[: min(length, len(data) - 13)])
        with pytest.raises(InputError, match="cannot read"):
            read_photo(folder / "a")
