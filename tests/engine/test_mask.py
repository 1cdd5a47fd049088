"""Regions: exact where the mask is black or white, alike in tiles, and between in between."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from coser_cli.engine.mask import CellWeights, Grey, masked_result, weights_at
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.errors import InputError
from coser_cli.settings import Settings
from coser_cli.size import Size
from coser_cli.tiling.grid import Box
from tests.toy_upscaler import in_tiles, whole

PLAIN = Settings(scale=3, steps=1, strength=0.5, reference_mode="none", color_fix="adain")
SIDES = st.integers(1, 40)


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def half(height, width):
    """White on the right."""
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[:, width // 2 :] = 255
    return mask


def bicubic(pixels, size):
    return F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)


def test_an_all_white_mask_changes_no_bit(upscaler):
    pixels = noise(1, 3, 11, 13)
    masked = upscaler.upscale(pixels, PLAIN, mask=torch.ones(7, 5)).pixels
    assert torch.equal(masked, upscaler.upscale(pixels, PLAIN).pixels)


def test_an_all_black_mask_leaves_the_plain_enlargement(upscaler):
    pixels = noise(2, 3, 11, 13)
    masked = upscaler.upscale(pixels, PLAIN, mask=torch.zeros(7, 5)).pixels
    torch.testing.assert_close(masked, bicubic(pixels, (33, 39)), rtol=0, atol=1e-5)
    same = upscaler.upscale(pixels, PLAIN, mask=torch.zeros(7, 5), scale=1).pixels
    assert torch.equal(same, pixels)


def test_each_side_of_an_edge_is_its_own(upscaler):
    pixels = noise(1, 3, 16, 32)
    masked = upscaler.upscale(pixels, PLAIN, mask=half(48, 96)).pixels
    plain = bicubic(pixels, (48, 96))
    torch.testing.assert_close(masked[..., :48], plain[..., :48], rtol=0, atol=1e-5)
    assert (masked[..., 48:] - plain[..., 48:]).abs().max() > 0.01


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), rows=SIDES, columns=SIDES)
def test_tiles_never_show(upscaler, height, width, rows, columns):
    pixels, mask = noise(1, 3, height, width), noise(1, 1, rows, columns)
    expected = upscaler.upscale(pixels, PLAIN, mask=mask, strength=0.0).pixels
    own = Settings(scale=3, strength=0.0, color_fix="adain")
    result = in_tiles(upscaler, pixels, own, vae=Tiling(32), mask=Grey(mask)).pixels.tensor
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-4)


def test_what_fits_one_tile_is_masked_in_latents_alike(upscaler):
    pixels, mask = noise(1, 3, 13, 16), half(9, 9)
    expected = upscaler.upscale(pixels, PLAIN, mask=mask).pixels
    result = in_tiles(upscaler, pixels, PLAIN, mask=Grey(mask[None, None])).pixels.tensor
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(rows=SIDES, columns=SIDES, height=SIDES, width=SIDES, white=st.booleans())
def test_constant_masks_are_exact_at_any_size(rows, columns, height, width, white):
    mask = torch.full((1, 1, rows, columns), 255 * white, dtype=torch.uint8)
    weights = weights_at(Grey(mask), Size(height, width))
    assert (whole(weights) == float(white)).all()
    cells = -(-height // 8) + 1, -(-width // 8) + 1  # and beyond the picture
    assert (whole(CellWeights(weights, Size(*cells), 8)) == float(white)).all()


@settings(max_examples=30, deadline=None)
@given(height=SIDES, width=SIDES, data=st.data())
def test_cells_are_read_box_by_box(height, width, data):
    weights = weights_at(Grey(noise(1, 1, 7, 9)), Size(height, width))
    cells = CellWeights(weights, Size(-(-height // 4) + 1, -(-width // 4) + 1), 4)
    _, rows, columns = cells.shape
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    box = Box(top, left, rows, columns)
    torch.testing.assert_close(cells.read(box), box.crop(whole(cells)))


def test_grey_lies_between():
    pixels, restored = noise(1, 3, 4, 4), noise(1, 3, 8, 8)
    mask = torch.full((1, 1, 3, 3), 0.25)
    expected = torch.lerp(bicubic(pixels, (8, 8)), restored, 0.25)
    torch.testing.assert_close(masked_result(mask, pixels, restored), expected, rtol=0, atol=1e-4)


def test_masks_of_every_kind_in_memory(upscaler):
    pixels, mask = noise(1, 3, 6, 8), half(6, 8)
    expected = upscaler.upscale(pixels, PLAIN, mask=mask).pixels
    for kind in (mask.float() / 255, mask.numpy(), Image.fromarray(mask.numpy())):
        torch.testing.assert_close(upscaler.upscale(pixels, PLAIN, mask=kind).pixels, expected)


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(3, 4, 4),
        torch.full((4, 4), 2.0),
        torch.ones(4, 4, dtype=torch.int64),
        np.ones((4, 4, 3), np.uint8),
        Image.new("RGB", (4, 4)),
    ],
)
def test_what_is_no_mask_is_refused(upscaler, mask):
    with pytest.raises(InputError, match="mask"):
        upscaler.upscale(noise(1, 3, 4, 4), PLAIN, mask=mask)
