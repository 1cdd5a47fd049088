"""Colours: every kind of profile, and what files say without one."""

import struct
import zlib

import corpus
import numpy as np
import pytest
from PIL import Image

from coser_cli.imageio import icc, png
from coser_cli.imageio.profiles import can_be_written, is_srgb, to_srgb
from coser_cli.imageio.read import read_photo
from coser_cli.imageio.write import write_photo
from coser_cli.size import Size

SIZE = (8, 6)
VALUES = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
WIDE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
LINEAR = icc.matrix_profile("linear", icc.SRGB, 1.0)
SRGB = icc.matrix_profile("a name that says nothing", icc.SRGB, icc.linear_of(13))
ADOBE = icc.matrix_profile("sRGB by name alone", icc.ADOBE_RGB, icc.ADOBE_GAMMA)


def made(path, *chunks, bits=8, values=VALUES):
    rows = values.astype(">u2" if bits == 16 else np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    kind = 0 if values.ndim == 2 else 2
    path.write_bytes(corpus.png(*SIZE, bits, kind, raw, *chunks))
    return path


def gamma(value):
    return png.chunk(b"gAMA", struct.pack(">I", round(value * 100000)))


def primaries(values=WIDE):
    return png.chunk(b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in values)))


def profile(data):
    return png.chunk(b"iCCP", b"p\0\0" + zlib.compress(data))


def code_points(*values):
    return png.chunk(b"cICP", bytes(values))


def read(tmp_path, *chunks, **options):
    return read_photo(made(tmp_path / "a.png", *chunks, **options))


def pixels(photo):
    return photo.pixels.transpose(1, 2, 0)


def test_the_profile_of_srgb_is_known_by_its_colours_and_not_by_its_name():
    assert is_srgb(SRGB)
    assert not is_srgb(ADOBE)
    assert not is_srgb(LINEAR)


@pytest.mark.parametrize("icc_profile", [LINEAR, ADOBE], ids=["linear", "wrongly named"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_converted_and_converted_back(tmp_path, suffix, icc_profile):
    smooth = np.tile(np.linspace(60, 180, SIZE[0]).astype(np.uint8)[None, :, None], (SIZE[1], 1, 3))
    photo = read(tmp_path, profile(icc_profile), values=smooth)
    assert photo.convert
    assert np.abs(pixels(photo) - to_srgb(smooth, icc_profile) / 65535).max() < 1e-4
    write_photo(tmp_path / f"b{suffix}", photo.pixels, photo)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.info["icc_profile"] == icc_profile
        back = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(back - smooth).max() <= (1 if suffix in (".png", ".tif") else 6)


def test_a_gamma_without_a_profile(tmp_path):
    light = np.tile(np.linspace(0, 65535, SIZE[0])[None, :, None], (SIZE[1], 1, 3)).astype("H")
    photo = read(tmp_path, gamma(1.0), bits=16, values=light)
    x = light / 65535
    expected = np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)
    assert np.abs(pixels(photo) - expected).max() < 0.002
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    again = read_photo(tmp_path / "b.png")
    assert np.abs(pixels(again) - expected).max() < 0.003


def test_a_gamma_of_grey(tmp_path):
    grey = np.tile(np.linspace(0, 255, SIZE[0]).astype(np.uint8), (SIZE[1], 1))
    photo = read(tmp_path, gamma(1.0), values=grey)
    assert photo.grey
    assert photo.pixels[0, 0, 4] > grey[0, 4] / 255 + 0.1


@pytest.mark.parametrize("chunks", [(), (gamma(0.45455),), (gamma(0.45455), primaries(icc.SRGB))])
def test_what_says_srgb_changes_nothing(tmp_path, chunks):
    photo = read(tmp_path, *chunks)
    assert np.array_equal(np.rint(pixels(photo) * 255), VALUES)
    assert photo.icc is None


SRGB_CHUNK = png.chunk(b"sRGB", b"\0")
P3 = code_points(12, 13, 0, 1)


@pytest.mark.parametrize(
    ("chunks", "name"),
    [
        ((P3, profile(ADOBE), SRGB_CHUNK, gamma(1.0)), b"CICP 12/13"),
        ((profile(ADOBE), SRGB_CHUNK, gamma(1.0)), b"sRGB by name alone"),
        ((SRGB_CHUNK, gamma(1.0), primaries()), None),
        ((gamma(1.0), primaries()), b"PNG gamma 1"),
        ((primaries(),), b"PNG gamma"),
    ],
)
def test_which_of_them_counts(tmp_path, chunks, name):
    photo = read(tmp_path, *chunks)
    assert (photo.icc is None) == (name is None)
    assert name is None or name in photo.icc


def test_high_dynamic_range_stays_as_it_is(tmp_path):
    photo = read(tmp_path, code_points(9, 16, 0, 1))
    assert "high dynamic range (PQ)" in photo.notes[0]
    assert np.array_equal(np.rint(pixels(photo) * 255), VALUES)
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    assert png.read_png_header(tmp_path / "b.png").chunks[b"cICP"] == bytes([9, 16, 0, 1])


def test_a_profile_of_another_kind_is_ignored_and_said(tmp_path):
    photo = read(tmp_path, profile(icc.grey_profile("grey", 2.2)))
    assert photo.icc is None
    assert photo.notes == ("the colour profile does not fit; ignored",)
    grey = VALUES[..., 0]
    photo = read(tmp_path, profile(SRGB), values=grey)
    assert np.array_equal(np.rint(photo.pixels[0] * 255), grey)
    assert can_be_written(SRGB)


@pytest.mark.parametrize(("bits", "depth"), [(1, 8), (2, 8), (4, 8), (8, 8), (16, 16)])
def test_transparency_of_grey_png_at_every_depth(tmp_path, bits, depth):
    grey = np.tile(np.arange(SIZE[0]) % min(2**bits, 8), (SIZE[1], 1))
    raw = b"".join(
        b"\0" + (row.astype(">u2").tobytes() if bits == 16 else packed(row, bits)) for row in grey
    )
    hidden = 1
    transparency = png.chunk(b"tRNS", struct.pack(">H", hidden))
    (tmp_path / "a.png").write_bytes(corpus.png(*SIZE, bits, 0, raw, transparency))
    photo = read_photo(tmp_path / "a.png")
    assert np.array_equal(photo.alpha == 0, grey == hidden)
    assert photo.grey
    assert photo.bit_depth == depth
    seen = grey != hidden
    assert np.allclose(photo.pixels[0][seen], (grey / (2**bits - 1))[seen], atol=1e-4)


def packed(row, bits):
    digits = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.ravel().astype(np.uint8)).tobytes()


@pytest.mark.parametrize("bits", [8, 16])
def test_transparency_of_one_colour(tmp_path, bits):
    values = VALUES.astype(np.uint16) * (257 if bits == 16 else 1)
    hidden = png.chunk(b"tRNS", struct.pack(">3H", *(int(each) for each in values[2, 3])))
    photo = read(tmp_path, hidden, bits=bits, values=values)
    assert photo.alpha[2, 3] == 0
    assert (photo.alpha == 0).sum() == 1


def test_the_first_frame_of_a_gif_need_not_cover_its_canvas(tmp_path):
    Image.new("P", (8, 6), 1).save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 20, 16)
    at = data.index(b"\x2c\0\0\0\0\x08\0\x06\0")
    data[at + 1 : at + 5] = struct.pack("<HH", 5, 4)
    (tmp_path / "a.gif").write_bytes(data)
    photo = read_photo(tmp_path / "a.gif")
    assert photo.size == Size(16, 20)
    assert photo.alpha[4:10, 5:13].all()
    assert photo.alpha.sum() == 48
