"""Written files, opened again with Pillow."""

import os
import stat

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from coser_cli.errors import InputError, UsageError
from coser_cli.imageio.atomic import atomic_file
from coser_cli.imageio.exif import exif_for_size, usable_exif
from coser_cli.imageio.formats import WRITABLE_SUFFIXES, format_of, require_fits
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.read import read_photo
from coser_cli.imageio.transparency import fill_transparent
from coser_cli.imageio.write import write_photo
from coser_cli.size import Size

RNG = np.random.default_rng(0)


def pixels(height=8, width=12):
    return RNG.random((3, height, width), dtype=np.float32)


@pytest.mark.parametrize("suffix", [*WRITABLE_SUFFIXES, ".PNG"])
def test_every_format_reads_back(tmp_path, suffix):
    x, y = np.meshgrid(np.linspace(0, 1, 12, dtype=np.float32), np.linspace(0, 1, 8))
    values = np.stack([x, y, x]).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    write_photo(path, values)
    with Image.open(path) as image:
        assert image.format == format_of(path).name
        assert image.size == (12, 8)
        back = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255
    lossy = suffix in (".jpg", ".jpeg", ".webp", ".avif")
    assert np.abs(back - values).max() <= (0.15 if lossy else 0.5 / 255 + 1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_values_are_rounded_and_clipped(tmp_path):
    values = np.zeros((3, 1, 4), dtype=np.float32)
    values[:, 0] = np.array([0.6 / 255, 254.6 / 255, -0.5, 1.5])
    write_photo(tmp_path / "a.png", values)
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, :, 0].tolist() == [1, 255, 0, 255]


def test_unknown_extension(tmp_path):
    with pytest.raises(UsageError, match="unknown extension"):
        write_photo(tmp_path / "a.xyz", pixels())


def test_largest_side_of_a_format(tmp_path):
    with pytest.raises(InputError, match="16383"):
        require_fits(tmp_path / "a.webp", Size(10, 20000))
    require_fits(tmp_path / "a.png", Size(10, 20000))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_enlarged(tmp_path, suffix):
    alpha = np.zeros((4, 6), dtype=np.float32)
    alpha[:, 3:] = 1
    write_photo(tmp_path / f"a{suffix}", pixels(), Photo(pixels(4, 6), alpha=alpha))
    with Image.open(tmp_path / f"a{suffix}") as image:
        back = np.asarray(image.convert("RGBA").getchannel("A"))
    assert back.shape == (8, 12)
    assert back[:, :4].max() <= 10
    assert back[:, 8:].min() >= 245


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_without_alpha_the_ground_is_white(tmp_path, suffix):
    source = Photo(pixels(4, 6), alpha=np.zeros((4, 6), dtype=np.float32))
    write_photo(tmp_path / f"a{suffix}", pixels(), source)
    assert np.asarray(Image.open(tmp_path / f"a{suffix}")).min() == 255


def test_grey_stays_grey(tmp_path):
    write_photo(tmp_path / "a.png", pixels(), Photo(pixels(), grey=True))
    assert Image.open(tmp_path / "a.png").mode == "L"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_round_trip(tmp_path, suffix):
    values = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "in.png")
    photo = read_photo(tmp_path / "in.png")
    write_photo(tmp_path / f"out{suffix}", photo.pixels, photo)
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"out{suffix}")), values)


def camera_exif(suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Copyright] = "me"
    if suffix == ".jpg":  # structure, not description: must not be taken over
        exif[ExifTags.Base.ImageWidth] = 5
    photo = exif.get_ifd(ExifTags.IFD.Exif)
    photo[ExifTags.Base.ExifImageWidth] = 6
    photo[ExifTags.Base.ExifImageHeight] = 4
    photo[ExifTags.Base.DateTimeOriginal] = "2020:01:01 00:00:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("source_suffix", [".jpg", ".tif"])
def test_exif_is_kept_and_corrected(tmp_path, suffix, source_suffix):
    source = tmp_path / f"in{source_suffix}"
    Image.new("RGB", (6, 4)).save(source, exif=camera_exif(source_suffix).tobytes(), dpi=(300, 300))
    photo = read_photo(source)
    assert photo.size == Size(6, 4)
    write_photo(tmp_path / f"out{suffix}", pixels(24, 16), photo)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.size == (16, 24)
        exif = image.getexif()
        if suffix != ".webp":
            assert [round(value) for value in image.info["dpi"]] == [300, 300]
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert exif.get(ExifTags.Base.Orientation, 1) == 1
    assert exif[ExifTags.Base.Copyright] == "me"
    assert (tags[ExifTags.Base.ExifImageWidth], tags[ExifTags.Base.ExifImageHeight]) == (16, 24)
    assert tags[ExifTags.Base.DateTimeOriginal] == "2020:01:01 00:00:00"
    assert place[ExifTags.GPS.GPSLatitudeRef] == "N"


def test_exif_too_large_for_jpeg_is_dropped(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70000
    photo = Photo(pixels(), metadata=Metadata(exif=usable_exif(exif.tobytes())))
    write_photo(tmp_path / "a.jpg", pixels(), photo)
    write_photo(tmp_path / "a.png", pixels(), photo)
    assert not Image.open(tmp_path / "a.jpg").getexif()
    assert len(Image.open(tmp_path / "a.png").getexif()[ExifTags.Base.ImageDescription]) == 70000


def test_no_exif_stays_none():
    assert exif_for_size(None, Size(1, 1)) is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_is_written_back(tmp_path, suffix):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_photo(tmp_path / f"a{suffix}", pixels(), Photo(pixels(), icc=icc))
    assert Image.open(tmp_path / f"a{suffix}").info["icc_profile"] == icc


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_photo(tmp_path / "a.png", pixels())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_in_the_way(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        write_photo(tmp_path / "a.png", pixels())
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        write_photo(tmp_path / "none" / "a.png", pixels())


def test_longest_name(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_photo(path, pixels())
    assert path.exists()


def test_fill_transparent_spreads_the_visible_colour():
    values = np.zeros((3, 16, 16), dtype=np.float32)
    alpha = np.zeros((16, 16), dtype=np.float32)
    values[0, 4:8, 4:8] = alpha[4:8, 4:8] = 1
    filled = fill_transparent(values, alpha)
    assert np.array_equal(filled[0], np.ones((16, 16)))
    assert not filled[1:].any()


@pytest.mark.parametrize("visible", [0.0, 1.0])
def test_fill_transparent_leaves_uniform_alpha_alone(visible):
    values = pixels()
    alpha = np.full((8, 12), visible, dtype=np.float32)
    assert fill_transparent(values, alpha) is values
