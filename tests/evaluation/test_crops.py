"""Patches: aligned in both sizes, where the detail is, and always the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coser_cli.errors import InputError
from coser_cli.evaluation.crops import most_detailed, read_crops


def write(root, name, low, scale, spare=(0, 0)):
    """A pair: each LR pixel is a square of the HR picture, which may have a few pixels more."""
    high = low.repeat(scale, 0).repeat(scale, 1)
    high = np.pad(high, ((0, spare[0]), (0, spare[1]), (0, 0)))
    for folder, pixels in (("LR", low), ("HR", high)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / folder / f"{name}.png")


@given(
    height=st.integers(8, 20),
    width=st.integers(8, 20),
    side=st.integers(2, 8),
    scale=st.integers(1, 4),
    spare=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
def test_both_sizes_show_the_same(tmp_path_factory, height, width, side, scale, spare, seed):
    root = tmp_path_factory.mktemp("set")
    low = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    write(root, "a", low, scale, spare)
    crops = read_crops([root], side, scale)
    assert crops.low.shape == (1, 3, side, side)
    enlarged = crops.low.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    assert torch.equal(crops.high, enlarged)


@given(top=st.integers(0, 12), left=st.integers(0, 9), seed=st.integers(0, 99))
def test_the_patch_is_where_the_detail_is(top, left, seed):
    pixels = torch.full((1, 3, 20, 17), 0.5)
    noise = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    pixels[..., top + 2 : top + 6, left + 2 : left + 6] = noise
    found = most_detailed(pixels, 8)
    assert found[0] <= top + 2 <= top + 6 <= found[0] + 8
    assert found[1] <= left + 2 <= left + 6 <= found[1] + 8


def test_names_counts_and_digest(tmp_path):
    rng = np.random.default_rng(0)
    for root in ("one", "two"):
        for name in "abcde":
            write(tmp_path / root, name, rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), 2)
    folders = [tmp_path / "one", tmp_path / "two"]
    crops = read_crops(folders, 8, 2, 2)
    assert crops.names == ("one/a.png", "one/c.png", "two/a.png", "two/c.png")
    assert len(read_crops(folders, 8, 2)) == len(read_crops(folders, 8, 2, 9)) == 10
    assert crops.digest() == read_crops(folders, 8, 2, 2).digest()
    others = [read_crops(folders, 7, 2, 2), read_crops(folders, 8, 2, 3), read_crops(folders, 8, 1)]
    assert len({each.digest() for each in (crops, *others)}) == 4


def test_a_picture_that_is_too_small(tmp_path):
    write(tmp_path, "tiny", np.zeros((6, 9, 3), np.uint8), 2)
    with pytest.raises(InputError, match=r"tiny\.png'?: 9×6 pixels are less than a patch of 8×8"):
        read_crops([tmp_path], 8, 2)
