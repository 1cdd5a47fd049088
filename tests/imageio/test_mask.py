"""Masks from files: 8-bit grey, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from coser_cli.errors import InputError
from coser_cli.imageio.mask import read_mask


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_grey_is_read_as_it_is(tmp_path, suffix):
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = tmp_path / f"mask{suffix}"
    Image.fromarray(values).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    if suffix == ".webp":  # which has no grey
        with pytest.raises(InputError, match="in colour"):
            read_mask(path)
        return
    np.testing.assert_array_equal(read_mask(path), values)


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(np.eye(9, dtype=bool)).save(tmp_path / "mask.png")
    assert set(np.unique(read_mask(tmp_path / "mask.png"))) == {0, 255}


@pytest.mark.parametrize(
    ("mode", "words"), [("RGB", "in colour"), ("LA", "transparency"), ("I;16", "has 16")]
)
def test_other_pictures_are_refused(tmp_path, mode, words):
    Image.new(mode, (5, 4)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=words):
        read_mask(tmp_path / "mask.png")
