"""Real files of every kind, made here, read back."""

import os

import numpy as np
import pytest
from corpus import SIZE, picture, png
from PIL import ExifTags, Image, ImageCms

from coser_cli.errors import Exit, InputError
from coser_cli.imageio.exif import exif_for_size
from coser_cli.imageio.read import read_photo
from coser_cli.size import Size

EXTENSIONS = {
    "PNG": "png", "JPEG": "jpg", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "GIF": "gif"
}  # fmt: skip


@pytest.mark.parametrize("format", EXTENSIONS)
def test_each_format_is_read_by_content_under_any_name(tmp_path, format):
    for name in (f"a.{EXTENSIONS[format]}", "no_extension", "wrong.txt", "wrong.jpg"):
        path = tmp_path / name
        picture().save(path, format=format)
        photo = read_photo(path)
        assert photo.pixels.shape == (3, 9, 13)
        assert photo.pixels.dtype == np.float32
        assert photo.size.wh == SIZE
        assert photo.alpha is None
        expected = np.asarray(picture()).transpose(2, 0, 1) / 255
        tolerance = {"GIF": 0.2, "JPEG": 0.12, "WEBP": 0.12}.get(format, 1e-6)
        assert np.abs(photo.pixels - expected).max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV"])
def test_modes_without_alpha(tmp_path, mode):
    path = tmp_path / "a.tif"
    image = picture(mode)
    if mode == "HSV":
        path = path.with_suffix(".png")
        image = image.convert("RGB")
    image.save(path)
    photo = read_photo(path)
    assert photo.alpha is None
    assert photo.grey == (mode in ("1", "L"))
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255
    assert np.abs(photo.pixels - expected).max() < 0.02


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_alpha_is_kept_apart(tmp_path, mode):
    image = picture("L" if mode == "LA" else "RGB")
    alpha = Image.linear_gradient("L").resize(SIZE)
    image.putalpha(alpha)
    path = tmp_path / "a.png"
    if mode == "PA":
        image = image.quantize(32)
    image.save(path)
    photo = read_photo(path)
    wanted = np.asarray(Image.open(path).convert("RGBA").getchannel("A"))
    assert np.array_equal(np.rint(photo.alpha * 255), wanted)
    assert photo.grey == (mode == "LA")


def test_palette_with_one_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=1)
    photo = read_photo(tmp_path / "a.png")
    assert photo.alpha.tolist() == [[1.0, 0.0]]
    assert photo.pixels[:, 0, 0].tolist() == [1.0, 0.0, 0.0]
    # What cannot be seen takes the colour of what can.
    assert photo.pixels[:, 0, 1].tolist() == [1.0, 0.0, 0.0]


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = read_photo(tmp_path / "a.jpg").pixels[:, 4, 4]
    assert red > 0.9
    assert max(green, blue) < 0.1


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_loses_nothing(tmp_path, name):
    values = np.arange(13 * 9, dtype=np.uint16).reshape(9, 13) * 503
    Image.fromarray(values).save(tmp_path / name)
    photo = read_photo(tmp_path / name)
    assert photo.bit_depth == 16
    assert photo.grey
    assert np.array_equal(np.rint(photo.pixels[1] * 65535), values)


def test_16_bit_colour_loses_nothing(tmp_path):
    values = (np.arange(4 * 5 * 3).reshape(4, 5, 3) * 1000).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(5, 4, 16, 2, rows))
    photo = read_photo(tmp_path / "a.png")
    assert np.array_equal(np.rint(photo.pixels * 65535), values.transpose(2, 0, 1))
    assert photo.bit_depth == 16
    assert not photo.notes


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / "a.gif")
    assert photo.pixels[:, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert photo.notes == ("only the first frame or page is used (--all-frames takes all)",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
def test_orientation_is_applied(tmp_path, orientation, extension):
    upright = Image.new("RGB", (32, 16), "black")
    upright.paste("red", (0, 0, 16, 8))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Maker"
    path = tmp_path / f"a.{extension}"
    stored.save(path, exif=exif)
    photo = read_photo(path)
    assert photo.size == Size(16, 32)
    assert photo.pixels[0, 4, 8] > 0.8  # red at the upper left
    assert photo.pixels[0, 4, 24] < 0.2
    assert photo.pixels[0, 12, 8] < 0.2
    kept = Image.Exif()
    kept.load(exif_for_size(photo.metadata.exif, Size(32, 64)))
    assert kept[ExifTags.Base.Make] == "Maker"
    assert kept[ExifTags.Base.Orientation] == 1


def test_srgb_profile_changes_nothing(tmp_path):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture().save(tmp_path / "a.png", icc_profile=icc)
    photo = read_photo(tmp_path / "a.png")
    assert np.array_equal(np.rint(photo.pixels * 255), np.asarray(picture()).transpose(2, 0, 1))
    assert photo.icc == icc
    assert not photo.convert


@pytest.mark.parametrize("icc", [b"nonsense", b"\0" * 200])
def test_damaged_profile_is_ignored_and_said(tmp_path, icc):
    picture().save(tmp_path / "a.png", icc_profile=icc)
    photo = read_photo(tmp_path / "a.png")
    assert photo.icc is None
    assert photo.notes == ("the colour profile is damaged and was ignored",)


def test_damaged_exif_is_dropped(tmp_path):
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x0f\x01")
    assert read_photo(tmp_path / "a.jpg").pixels.shape == (3, 9, 13)


def test_resolution_is_read(tmp_path):
    picture().save(tmp_path / "a.jpg", dpi=(300, 300))
    assert read_photo(tmp_path / "a.jpg").metadata.dpi == (300, 300)


def refused(path, **options):
    with pytest.raises(InputError) as caught:
        read_photo(path, **options)
    error = caught.value
    assert error.exit_code == Exit.FAILED
    assert path.name[:4] in str(error)
    assert error.hint
    assert "\n" not in str(error)
    return error.message


def test_missing(tmp_path):
    assert "no such file" in refused(tmp_path / "missing.jpg")


def test_directory(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    assert "it is a folder" in refused(tmp_path / "folder.jpg")


def test_empty(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert "empty" in refused(tmp_path / "empty.jpg")


def test_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    assert "not a regular file" in refused(tmp_path / "fifo.jpg")


def test_nul_in_the_name(tmp_path):
    assert "null" in refused(tmp_path / "null\0.jpg")


@pytest.mark.parametrize(
    "content",
    [b"hello", b"<html><body>quota</body></html>", b"\0" * 4096, b"%!PS-Adobe-3.0 EPSF-3.0\n"],
)
def test_no_picture(tmp_path, content):
    (tmp_path / "text.jpg").write_bytes(content)
    assert "not a picture" in refused(tmp_path / "text.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_permission(tmp_path):
    picture().save(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    assert "permission denied" in refused(tmp_path / "secret.png")


@pytest.mark.parametrize("format", EXTENSIONS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_truncated_at_several_points(tmp_path, format, share):
    path = tmp_path / "cut.bin"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format=format)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    message = refused(path)
    assert "damaged" in message or "not a picture" in message


@pytest.mark.parametrize("at", [20, 40, 60, 200])
def test_flipped_bytes_never_escape_as_another_error(tmp_path, at):
    for format in EXTENSIONS:
        path = tmp_path / "flip.bin"
        picture(size=(40, 40)).save(path, format=format)
        data = bytearray(path.read_bytes())
        for offset in range(min(8, len(data) - at)):
            data[at + offset] ^= 0xFF
        path.write_bytes(data)
        try:
            read_photo(path)
        except InputError as error:
            assert "flip" in str(error)


def test_bomb_is_refused_from_its_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, 8, 2, b""))
    assert "too many pixels" in refused(tmp_path / "bomb.png")
    # Between Pillow's warning and its error, too.
    (tmp_path / "bomb.png").write_bytes(png(10000, 10000, 8, 2, b""))
    assert "too many pixels" in refused(tmp_path / "bomb.png")


def test_callers_limit(tmp_path):
    picture().save(tmp_path / "large.png")
    assert "13×9 pixels" in refused(tmp_path / "large.png", max_pixels=100)
    assert read_photo(tmp_path / "large.png", max_pixels=117).size.wh == SIZE


def test_float_tiff_is_read_and_what_it_is_taken_for_is_said(tmp_path):
    values = np.linspace(-0.5, 1.5, 9, dtype=np.float32).reshape(3, 3)
    Image.fromarray(values).save(tmp_path / "float.tif")
    photo = read_photo(tmp_path / "float.tif")
    assert photo.bit_depth == 16
    assert np.allclose(photo.pixels[0], np.clip(values, 0, 1), atol=1e-4)
    assert "floating-point" in photo.notes[0]


@pytest.mark.parametrize(
    "name", ["[b]x[i].png", "a b.png", "-dash.png", "ä€.png", "new\nline.png", "a%s'\".png"]
)
def test_awkward_names(tmp_path, name):
    picture().save(tmp_path / name, format="PNG")
    assert read_photo(tmp_path / name).size.wh == SIZE


def test_error_about_an_awkward_name_is_one_line(tmp_path):
    (tmp_path / "new\nline.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"new\\nline\.png") as caught:
        read_photo(tmp_path / "new\nline.png")
    assert "\n" not in str(caught.value)


def test_heic_with_its_plug_in(tmp_path):
    plug_in = pytest.importorskip("pillow_heif")
    plug_in.register_heif_opener()
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    picture(size=(64, 48)).save(tmp_path / "a.jpg", format="HEIF", exif=exif, quality=95)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.size == Size(48, 64)
    expected = np.asarray(picture(size=(64, 48))).transpose(2, 0, 1) / 255
    assert np.abs(photo.pixels - expected).mean() < 0.02
    assert b"Maker" in photo.metadata.exif
