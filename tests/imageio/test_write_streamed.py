"""Streamed files, opened with Pillow and compared with those of `write_photo`."""

import io
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import ExifTags, Image, ImageCms

from coser_cli.errors import InputError
from coser_cli.imageio.exif import usable_exif
from coser_cli.imageio.formats import format_of
from coser_cli.imageio.keep import Kept, kept_of
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.samples import alpha_band
from coser_cli.imageio.write import write_photo, write_streamed
from coser_cli.imageio.write_tiff import tiff_head
from coser_cli.size import Size

RNG = np.random.default_rng(0)
SIZE = (61, 47)
BIG = (b"II\x2b\x00", b"MM\x00\x2b")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
SUFFIXES = [".png", ".jpg", ".webp", ".tif"]


def noise(size=SIZE):
    return RNG.random((3, size[1], size[0]), dtype=np.float32)


def cut(pixels, rows=10):
    return (pixels[:, top : top + rows] for top in range(0, pixels.shape[1], rows))


def camera_exif():
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright] = "me"
    exif[ExifTags.Base.Rating] = 3
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:01 00:00:00"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"a\0b"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (1.0, 2.0, 3.5)
    return usable_exif(exif.tobytes())


def grey_profile():
    """Grey, gamma 2.2, in the few bytes that such a profile needs."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + (563).to_bytes(2, "big") + bytes(2)
    white = b"XYZ " + bytes(4) + b"".join(n.to_bytes(4, "big") for n in (63190, 65536, 54061))
    table = [(b"wtpt", white), (b"kTRC", curve)]
    start = 128 + 4 + 12 * len(table)
    entries, body = b"", b""
    for name, data in table:
        place = (start + len(body)).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        entries, body = entries + name + place, body + data
    body = len(table).to_bytes(4, "big") + entries + body
    head = (128 + len(body)).to_bytes(4, "big") + bytes(4) + b"\2\x40\0\0" + b"mntrGRAYXYZ "
    head += bytes(12) + b"acsp" + bytes(28)
    head += b"".join(n.to_bytes(4, "big") for n in (63190, 65536, 54061))
    return head.ljust(128, b"\0") + body


def renamed_profile():
    """sRGB under another name, which is therefore converted to and fro."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace("sRGB".encode("utf-16-be"), "XYZW".encode("utf-16-be"))


def small(**fields):
    return Photo(noise((15, 12)), **fields)


SOURCES = {
    "plain": small(),
    "alpha": small(alpha=RNG.random((12, 15), dtype=np.float32)),
    "grey": small(grey=True),
    "grey alpha": small(grey=True, alpha=RNG.random((12, 15), dtype=np.float32)),
    "16 bits": small(grey=True, bit_depth=16),
    "16-bit colour": small(bit_depth=16),
    "16-bit colour with alpha": small(bit_depth=16, alpha=RNG.random((12, 15), dtype=np.float32)),
    "xmp": small(metadata=Metadata(xmp=XMP, exif=camera_exif())),
    "profile": small(icc=renamed_profile(), convert=True),
    "grey profile": small(grey=True, icc=grey_profile(), convert=True),
    "exif": small(metadata=Metadata(exif=camera_exif(), dpi=(300.0, 240.0)), icc=renamed_profile()),
}


def said(path):
    """Everything a file says beside its pixels and how they are packed."""
    packing = {273, 277, 278, 279, 284}  # a TIFF's strips; what is said or the default
    with Image.open(path) as image:
        exif = image.getexif()
        groups = {tag: dict(exif.get_ifd(tag)) for tag in (34665, 34853)}
        tags = {k: v for k, v in exif.items() if k not in packing | set(groups)}
        kept = ("icc_profile", "dpi", "jfif", "jfif_density", "compression", "xmp")
        info = {key: image.info[key] for key in kept if key in image.info}
        return image.format, image.mode, image.size, tags, groups, info


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_file_is_that_of_the_whole_picture(tmp_path, suffix, source):
    pixels = noise()
    whole, streamed = tmp_path / f"whole{suffix}", tmp_path / f"streamed{suffix}"
    write_photo(whole, pixels, source)
    write_streamed(streamed, Size.of_wh(SIZE), cut(pixels), source)
    assert said(streamed) == said(whole)
    first, second = values(whole), values(streamed)
    assert first.dtype == second.dtype
    difference = np.abs(first.astype(int) - second.astype(int))
    if source.alpha is None:
        assert not difference.any()
    elif first.dtype == np.uint16:
        assert difference.max() <= 8  # of 65535
    else:
        assert difference.max() <= 1
        assert (difference != 0).mean() <= 0.001  # once in a while another rounding


def values(path):
    """As they are in the file; Pillow would make 8 bits of 16-bit colour."""
    return pyvips.Image.new_from_file(str(path)).numpy()


def test_the_bigtiff_says_the_same(tmp_path):
    source = SOURCES["exif"]
    size = (50000, 40000)
    head, _ = tiff_head(
        3, 8, Size.of_wh(size), kept_of(source, Size.of_wh(size), format_of(Path("a.tif")))
    )
    assert head[:4] in BIG
    (tmp_path / "big.tif").write_bytes(head)
    os.truncate(tmp_path / "big.tif", len(head) + 3 * size[0] * size[1])  # sparse
    opened = pyvips.Image.new_from_file(str(tmp_path / "big.tif"))
    assert (opened.width, opened.height, opened.bands) == (*size, 3)
    assert round(opened.xres * 25.4) == 300
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        tags = said(tmp_path / "big.tif")
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    assert tags[3][33432] == "me"
    assert tags[4][34665][36867] == "2020:01:01 00:00:00"
    assert tags[5]["icc_profile"] == source.icc


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_pixels_of_a_bigtiff(tmp_path, monkeypatch, source):
    pixels = noise()
    write_streamed(tmp_path / "classic.tif", Size.of_wh(SIZE), cut(pixels), source)
    monkeypatch.setattr("coser_cli.imageio.write_tiff._CLASSIC_LIMIT", 1000)
    monkeypatch.setattr("coser_cli.imageio.write_tiff._STRIP_BYTES", 1000)
    write_streamed(tmp_path / "big.tif", Size.of_wh(SIZE), cut(pixels), source)
    assert (tmp_path / "big.tif").read_bytes()[:4] in BIG
    assert said(tmp_path / "big.tif") == said(tmp_path / "classic.tif")
    assert np.array_equal(values(tmp_path / "big.tif"), values(tmp_path / "classic.tif"))


def test_a_classic_tiff_where_it_suffices():
    assert tiff_head(3, 8, Size(37000, 37000), Kept())[0][:4] == b"II\x2a\x00"
    assert len(tiff_head(3, 8, Size(1, 1), Kept())[0]) < 300


@pytest.mark.parametrize("bands", [1, 7, 47])
def test_bands_of_any_height(tmp_path, bands):
    pixels = noise()
    write_streamed(tmp_path / "a.png", Size.of_wh(SIZE), cut(pixels, bands), small())
    found = np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1)
    assert np.array_equal(found, np.rint(pixels * 255))


@pytest.mark.parametrize("height", [40, 48])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bands_must_add_up(tmp_path, height, suffix):
    with pytest.raises(InputError, match="rows"):
        write_streamed(tmp_path / f"a{suffix}", Size.of_wh(SIZE), cut(noise((61, height))), small())
    assert list(tmp_path.iterdir()) == []


def test_alpha_in_bands_is_alpha():
    alpha = RNG.random((123, 77), dtype=np.float32)
    for size in [(310, 487), (77, 123), (50, 61)]:
        whole = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.LANCZOS))
        bands = [
            alpha_band(alpha, Size.of_wh(size), (top, min(top + 50, size[1])))
            for top in range(0, size[1], 50)
        ]
        assert np.abs(np.concatenate(bands) - whole).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "size"), [("a.webp", (16384, 9)), ("a.jpg", (9, 65501)), ("a.bmp", (9, 9))]
)
def test_what_a_format_cannot_hold_is_refused_before_the_start(tmp_path, name, size):
    def never():
        raise AssertionError("asked for pixels")
        yield

    with pytest.raises(InputError, match=r"write \.png or \.tif"):
        write_streamed(tmp_path / name, Size.of_wh(size), never(), small())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, suffix, error):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def interrupted():
        yield noise()[:, :20]
        raise error

    with pytest.raises(error):
        write_streamed(path, Size.of_wh(SIZE), interrupted(), small())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up(tmp_path, suffix):
    """The system's own refusal, by a limit on the size of files."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    size = (300, 400)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match=r"cannot write .*: file too large"):
            write_streamed(path, Size.of_wh(size), cut(noise(size)), small())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_said_on_standard_error(tmp_path, capfd):
    write_streamed(
        tmp_path / "a.png",
        Size.of_wh(SIZE),
        cut(noise()),
        replace(small(), metadata=Metadata(dpi=(72.0, 72.0))),
    )
    with pytest.raises(InputError):
        write_streamed(tmp_path / "b.png", Size.of_wh(SIZE), cut(noise((61, 3))), small())
    assert capfd.readouterr() == ("", "")


ENDLESS = """
import sys
from pathlib import Path
import numpy as np
from coser_cli.imageio.keep import Kept, kept_of
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.samples import alpha_band
from coser_cli.imageio.write import write_photo, write_streamed
from coser_cli.imageio.write_tiff import tiff_head
from coser_cli.size import Size
band = np.random.default_rng(0).random((3, 64, 4000), dtype=np.float32)
write_streamed(Path(sys.argv[1]), Size(640_000, 4000), (band for _ in range(10_000)), Photo(band))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_ctrl_c_ends_it_at_once_and_leaves_nothing(tmp_path, suffix):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / f"a{suffix}")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while not any(each.stat().st_size > 100_000 for each in tmp_path.iterdir()):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert said.strip().endswith(b"KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == []


MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from coser_cli.imageio.keep import Kept, kept_of
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.samples import alpha_band
from coser_cli.imageio.write import write_photo, write_streamed
from coser_cli.imageio.write_tiff import tiff_head
from coser_cli.size import Size
width, height, path = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
band = np.random.default_rng(0).random((3, 64, width), dtype=np.float32) * 0.02 + 0.5
bands = (band[:, : min(64, height - top)] for top in range(0, height, 64))
write_streamed(path, Size(height, width), bands, Photo(band[:, :8, :8]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_memory_does_not_grow_with_the_picture(tmp_path, suffix):
    def peak(height):
        path = tmp_path / f"{height}{suffix}"
        command = [sys.executable, "-c", MEASURE, "4000", str(height), str(path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return int(done.stdout)

    assert peak(6000) - peak(1500) < 40


def test_a_jpeg_s_head_is_no_longer_than_its_metadata(tmp_path):
    write_streamed(tmp_path / "a.jpg", Size.of_wh(SIZE), cut(noise()), SOURCES["exif"])
    data = (tmp_path / "a.jpg").read_bytes()
    assert data.count(b"Exif\0\0") == 1
    assert data.count(b"ICC_PROFILE\0") == 1
    assert Image.open(io.BytesIO(data)).info["dpi"] == (300, 240)
