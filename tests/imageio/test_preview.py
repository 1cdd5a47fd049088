"""Previews: bounded, upright, on white; large pictures by libvips like small ones by Pillow."""

import numpy as np
import pytest
from PIL import Image

from coser_cli.errors import InputError
from coser_cli.imageio import preview
from coser_cli.imageio.preview import data_uri, read_preview


@pytest.fixture
def gradient(tmp_path):
    """`gradient(name, size)`: a smooth picture file, so that filters hardly matter."""

    def make(name, size=(96, 64), **options):
        across, down = np.meshgrid(np.linspace(0, 200, size[0]), np.linspace(0, 200, size[1]))
        image = Image.fromarray(np.stack([across, down, across], -1).astype(np.uint8))
        path = tmp_path / name
        image.save(path, **options)
        return path

    return make


def test_small_pictures_are_whole(gradient):
    path = gradient("a.png")
    found = read_preview(path, 200)
    assert found.size.wh == found.image.size == (96, 64)
    with Image.open(path) as image:
        assert found.image.tobytes() == image.tobytes()


@pytest.mark.parametrize("whole", [10**9, 1])
def test_larger_ones_are_reduced(gradient, monkeypatch, whole):
    monkeypatch.setattr(preview, "_WHOLE_PIXELS", whole)
    found = read_preview(gradient("a.png"), 24)
    assert (found.size.wh, found.image.size) == ((96, 64), (24, 16))


@pytest.mark.parametrize("whole", [10**9, 1])
def test_orientation_is_applied(gradient, monkeypatch, whole):
    monkeypatch.setattr(preview, "_WHOLE_PIXELS", whole)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = read_preview(gradient("a.jpg", exif=exif), 48)
    assert (found.size.wh, found.image.size) == ((64, 96), (32, 48))
    assert found.image.getpixel((0, 40))[0] > found.image.getpixel((0, 2))[0] + 100


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "CMYK"])
def test_both_ways_see_the_same(tmp_path, monkeypatch, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGBA", (40, 30), (200, 40, 90, 128)).convert(mode).save(path)
    small = read_preview(path, 20).image
    monkeypatch.setattr(preview, "_WHOLE_PIXELS", 1)
    large = read_preview(path, 20).image
    assert small.size == large.size
    assert small.mode == large.mode == "RGB"
    difference = np.abs(np.asarray(small, dtype=int) - np.asarray(large, dtype=int))
    # CMYK without a profile is a matter of taste: libvips assumes a printer's.
    assert mode == "CMYK" or difference.max() <= 2


def test_transparent_is_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_preview(tmp_path / "a.png", 10).image.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limit", [100, 5000])  # Pillow refuses, and warns
def test_a_picture_above_pillows_guard_is_still_shown(gradient, monkeypatch, limit):
    path = gradient("a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(preview, "_WHOLE_PIXELS", 100)
    assert read_preview(path, 24).image.size == (24, 16)


def test_damaged_large_picture(gradient, monkeypatch, tmp_path):
    monkeypatch.setattr(preview, "_WHOLE_PIXELS", 1)
    content = gradient("a.png").read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.png"):
        read_preview(cut, 24)


def test_addresses_hold_the_picture():
    small, large = Image.new("RGB", (3, 2)), Image.new("RGB", (2000, 1000))
    assert data_uri(small).startswith("data:image/png;base64,")
    assert data_uri(large).startswith("data:image/jpeg;base64,")
    assert data_uri(small, thumbnail=True).startswith("data:image/jpeg;base64,")
