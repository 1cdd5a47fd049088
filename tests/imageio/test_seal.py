"""A result that was cut off or changed shows it."""

import numpy as np
import pytest
from PIL import Image

from coser_cli.imageio.record import read_record
from coser_cli.imageio.seal import is_sealed
from coser_cli.imageio.write import write_photo

PIXELS = np.random.default_rng(0).random((3, 24, 36), dtype=np.float32)
RECORD = {"coser_record": 1}
SUFFIXES = [".png", ".jpg", ".tif", ".webp", ".avif"]


def written(path):
    write_photo(path, PIXELS, record=RECORD)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_result_is_sealed_and_readable(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}")
    assert is_sealed(path) is True
    assert read_record(path) == RECORD
    with Image.open(path) as image:
        image.load()  # also checks the chunks of a PNG


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_cut_off(tmp_path, suffix, share):
    path = written(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert is_sealed(path) is False or read_record(path) is None


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("from_end", [1, 20, 100, 300])
def test_one_byte_changed(tmp_path, suffix, from_end):
    path = written(tmp_path / f"a{suffix}")
    data = bytearray(path.read_bytes())
    data[-from_end] ^= 1
    path.write_bytes(data)
    assert is_sealed(path) is not True


def test_other_files_have_no_seal(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    assert is_sealed(tmp_path / "a.png") is None
