"""TIFF of every kind, made here by tifffile, read as pixels."""

import struct

import numpy as np
import pytest
import tifffile

from coser_cli.errors import InputError
from coser_cli.imageio.read import read_photo
from coser_cli.size import Size

HEIGHT, WIDTH = 20, 30
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([X / (WIDTH - 1), Y / (HEIGHT - 1), (X + Y) / (WIDTH + HEIGHT - 2)], axis=-1)
GREY = RGB[..., 2]
ALPHA = np.where(X < 5, 0.0, np.where(X < 9, 0.5, 1.0))
UNITS = {8: np.uint8, 16: np.uint16, 32: np.uint32}
COMPRESSIONS = [None, "lzw", "deflate", "packbits", "zstd", "lzma"]


def whole(values, bits):
    """[0, 1] as whole numbers of so many bits."""
    dtype = next(UNITS[each] for each in UNITS if bits <= each)
    return np.rint(values * (2**bits - 1)).astype(dtype)


def layer(*parts):
    return np.dstack(parts)


# name → values in [0, 1] as stored, expected RGB, options of tifffile
def kinds():
    grey = np.repeat(GREY[..., None], 3, axis=2)
    yield "grey 8", whole(GREY, 8), grey, {"photometric": "minisblack"}
    yield "white is zero 8", whole(1 - GREY, 8), grey, {"photometric": "miniswhite"}
    yield "grey 16", whole(GREY, 16), grey, {"photometric": "minisblack"}
    yield "white is zero 16", whole(1 - GREY, 16), grey, {"photometric": "miniswhite"}
    yield "grey 32", whole(GREY, 32), grey, {"photometric": "minisblack"}
    yield "grey float", GREY.astype(np.float32), grey, {"photometric": "minisblack"}
    yield "grey half", GREY.astype(np.float16), grey, {"photometric": "minisblack"}
    yield "rgb 8", whole(RGB, 8), RGB, {"photometric": "rgb"}
    yield "rgb 16", whole(RGB, 16), RGB, {"photometric": "rgb"}
    yield "rgb float", RGB.astype(np.float32), RGB, {"photometric": "rgb"}
    inks = layer(1 - RGB, 0 * GREY)
    yield "cmyk 8", whole(inks, 8), RGB, {"photometric": "separated"}
    yield "cmyk 16", whole(inks, 16), RGB, {"photometric": "separated"}


def alphas():
    straight, premultiplied = {"extrasamples": ["unassalpha"]}, {"extrasamples": ["assocalpha"]}
    grey = np.repeat(GREY[..., None], 3, axis=2)
    for bits in (8, 16):
        yield f"grey {bits}", whole(layer(GREY, ALPHA), bits), grey, straight
        yield f"rgb {bits}", whole(layer(RGB, ALPHA), bits), RGB, {"photometric": "rgb"} | straight
        stored = whole(layer(RGB * ALPHA[..., None], ALPHA), bits)
        yield f"premultiplied {bits}", stored, RGB, {"photometric": "rgb"} | premultiplied
    inks = layer(1 - RGB, 0 * GREY, ALPHA)
    yield "cmyk 8", whole(inks, 8), RGB, {"photometric": "separated"} | straight


KINDS = {name: rest for name, *rest in kinds()}
ALPHAS = {name: rest for name, *rest in alphas()}


def read(path, stored, options, **more):
    tifffile.imwrite(path, stored, **options, **more)
    return read_photo(path)


def upright(values, orientation):
    """As EXIF says where the first row and the first column are."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    return {
        1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1],
        5: values, 6: values[:, ::-1], 7: values[::-1, ::-1], 8: values[::-1],
    }[orientation]  # fmt: skip


def assert_is(photo, expected, tolerance=0.004, where=...):
    found = photo.pixels.transpose(1, 2, 0)
    assert found.shape == expected.shape
    assert np.abs(found - expected)[where].max() <= tolerance


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", KINDS)
def test_kind_compression_and_byte_order(tmp_path, name, compression, byteorder):
    stored, expected, options = KINDS[name]
    if compression is not None:
        options = options | {"compression": compression}
    photo = read(tmp_path / "a.tif", stored, options, byteorder=byteorder)
    assert_is(photo, expected)
    assert photo.bit_depth == (8 if stored.dtype == np.uint8 else 16)
    assert photo.grey == (stored.ndim == 2)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u4", "u8", "f2", "f4", "f8"])
def test_samples_of_every_type(tmp_path, dtype):
    """The largest number is white; of signed ones, what is below zero is black."""
    dtype = np.dtype(dtype)
    top = 1.0 if dtype.kind == "f" else int(np.iinfo(dtype).max)
    stored = np.array([[0, top // 4, top // 2, top]] if dtype.kind != "f" else GREY[:1], dtype)
    if dtype.kind == "i":
        stored = np.append(stored, np.array([[-1]], dtype), axis=1)
    photo = read(tmp_path / "a.tif", stored, {"photometric": "minisblack"})
    expected = np.maximum(stored.astype(np.float64) / top, 0)
    bits = 7 if dtype.itemsize == 1 else 10
    assert np.abs(photo.pixels - expected).max() < 2**-bits
    assert photo.bit_depth == (8 if dtype.itemsize == 1 else 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", KINDS)
def test_orientation_of_every_kind(tmp_path, name, orientation):
    stored, expected, options = KINDS[name]
    tags = [(274, "H", 1, orientation, True)]
    photo = read(tmp_path / "a.tif", stored, options, extratags=tags)
    assert_is(photo, upright(expected, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ALPHAS)
def test_alpha_of_every_kind(tmp_path, name, orientation):
    stored, expected, options = ALPHAS[name]
    tags = [(274, "H", 1, orientation, True)]
    photo = read(tmp_path / "a.tif", stored, options, extratags=tags)
    alpha = upright(ALPHA, orientation)
    assert np.abs(photo.alpha - alpha).max() <= 0.003
    assert_is(photo, upright(expected, orientation), 0.01, alpha > 0)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_layout(tmp_path, bits, byteorder, tile, planar, bigtiff):
    stored = whole(RGB, bits)
    if planar == "separate":
        stored = np.ascontiguousarray(np.moveaxis(stored, -1, 0))
    options = {"photometric": "rgb", "planarconfig": planar, "bigtiff": bigtiff}
    more = {"rowsperstrip": 7} if tile is None else {"tile": tile}
    assert_is(read(tmp_path / "a.tif", stored, options, byteorder=byteorder, **more), RGB)


@pytest.mark.parametrize("compression", ["webp", "jpeg", "jpeg2000", "jpegxl", "lerc"])
def test_compression_by_picture_formats(tmp_path, compression):
    stored, expected, options = KINDS["rgb 8"]
    photo = read(tmp_path / "a.tif", stored, options, compression=compression)
    assert np.abs(photo.pixels.transpose(1, 2, 0) - expected).mean() < 0.03


@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("name", ["grey 16", "rgb 8", "rgb 16", "rgb float"])
def test_predictor(tmp_path, name, predictor):
    stored, expected, options = KINDS[name]
    more = {"compression": "deflate", "predictor": predictor}
    assert_is(read(tmp_path / "a.tif", stored, options, **more), expected)


def packed(values, bits):
    """Rows of numbers of so many bits, the highest first, each row filled up to a byte."""
    flat = values.reshape(values.shape[0], -1).astype(np.uint32)
    digits = (flat[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint32)) & 1
    return np.packbits(digits.reshape(len(flat), -1).astype(np.uint8), axis=1).tobytes()


def by_hand(bits, values, order):
    """An uncompressed TIFF of whole numbers of any number of bits."""
    from coser_cli.imageio import ifd

    layout = ifd.Layout(order)
    channels = 1 if values.ndim == 2 else values.shape[2]
    data = packed(values, bits)
    tags = {
        256: ifd.longs(layout, WIDTH), 257: ifd.longs(layout, HEIGHT),
        258: ifd.shorts(layout, *(bits,) * channels), 259: ifd.shorts(layout, 1),
        262: ifd.shorts(layout, 1 if channels == 1 else 2), 273: ifd.longs(layout, 8),
        277: ifd.shorts(layout, channels), 278: ifd.longs(layout, HEIGHT),
        279: ifd.longs(layout, len(data)),
    }  # fmt: skip
    data += b"\0" * (len(data) % 2)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + layout.offset(8 + len(data)) + data + ifd.pack(tags, 8 + len(data), layout)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 9, 10, 11, 12, 13, 14, 15])
def test_odd_numbers_of_bits(tmp_path, bits, channels, order):
    values = np.rint((GREY if channels == 1 else RGB) * (2**bits - 1))
    (tmp_path / "a.tif").write_bytes(by_hand(bits, values.astype(np.uint32), order))
    photo = read_photo(tmp_path / "a.tif")
    expected = values if channels == 3 else np.repeat(values[..., None], 3, axis=2)
    assert_is(photo, expected / (2**bits - 1), 0.003)
    assert photo.bit_depth == (8 if bits <= 8 else 16)


def test_palette(tmp_path):
    colours = np.stack([np.linspace(0, 65535, 256), np.linspace(65535, 0, 256), np.zeros(256)])
    index = whole(GREY, 8)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=colours.astype("H"))
    expected = np.dstack([index / 255, 1 - index / 255, 0 * GREY])
    assert_is(read_photo(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_lab_white_grey_and_red(tmp_path, photometric, bits, dtype):
    lab = np.array([[[100, 0, 0], [50, 0, 0], [54.29, 80.81, 69.89]]])  # red of sRGB under D50
    step = 2 ** (bits - 8)
    white = 65280 if (photometric, bits) == ("icclab", 16) else 2**bits - 1
    stored = np.rint(lab * [white / 100, step, step]).astype(np.int64)
    if photometric == "icclab":
        stored[..., 1:] += 128 * step
    tifffile.imwrite(tmp_path / "a.tif", stored.astype(dtype), photometric=photometric)
    expected = np.array([[[1, 1, 1], [0.466, 0.466, 0.466], [1, 0, 0]]])
    assert_is(read_photo(tmp_path / "a.tif"), expected, 0.03)


@pytest.mark.parametrize("kind", ["logluv", "depth_map"])
def test_what_is_not_read_is_named_and_not_called_damaged(tmp_path, kind):
    stored = whole(RGB if kind == "logluv" else GREY, 16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=kind)
    with pytest.raises(InputError, match="is not read") as caught:
        read_photo(tmp_path / "a.tif")
    assert "damaged" not in str(caught.value)


def test_subsampled_chroma_without_jpeg_is_named(tmp_path):
    """A picture of 2 × 2: four of luma, one of each chroma (TIFF 6.0, section 21)."""
    values = [(256, 4, 1, 2), (257, 4, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 6)]
    values += [(273, 4, 1, 146), (277, 3, 1, 3), (278, 4, 1, 2), (279, 4, 1, 6)]
    values += [(530, 3, 2, 2 | 2 << 16)]
    directory = b"".join(struct.pack("<HHII", *each) for each in values)
    header = b"II*\0" + struct.pack("<IH", 8, len(values)) + directory + bytes(4)
    (tmp_path / "a.tif").write_bytes(header.ljust(146, b"\0") + bytes(6))
    with pytest.raises(InputError, match="subsampled YCbCr without JPEG compression is not read"):
        read_photo(tmp_path / "a.tif")


def test_unknown_compression_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", whole(RGB, 8), photometric="rgb")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    at = data.index((259).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    data[at + 8 : at + 10] = (65000).to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_photo(tmp_path / "a.tif")
    assert "65000" in str(caught.value) or "not read" in str(caught.value)


def test_reduced_pictures_do_not_count_as_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(whole(RGB[:4, :4], 8), photometric="rgb", subfiletype=1)
        file.write(whole(RGB, 8), photometric="rgb")
    photo = read_photo(tmp_path / "a.tif")
    assert photo.size == Size(HEIGHT, WIDTH)
    assert not photo.notes
