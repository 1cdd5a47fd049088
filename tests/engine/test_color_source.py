"""Colours are those of the input, also where a network makes the enlargement."""

import pytest
import torch
from torch.nn import functional as F

from coser_cli.settings import Settings, TileSpec
from tests.toy_upscaler import in_tiles


@pytest.fixture
def own(make_toy):
    return make_toy(low_res_source="srresnet", plain_result="low_res").upscaler


def picture():
    """In the middle of the range, so that nothing is clamped."""
    return 0.4 + 0.2 * torch.rand(1, 3, 15, 22, generator=torch.Generator().manual_seed(5))


def test_coarse_colours_are_the_inputs(own):
    pixels = picture()
    plain = F.interpolate(pixels, (60, 88), mode="bicubic", antialias=True)
    coarse = {}
    for fix in ("none", "wavelet"):
        result = own.upscale(pixels, scale=4, strength=0, color_fix=fix).pixels
        coarse[fix] = (F.avg_pool2d(result - plain, 20)).abs().mean()
    assert coarse["wavelet"] < 0.5 * coarse["none"]


@pytest.mark.parametrize("fix", ["adain", "wavelet"])
@pytest.mark.parametrize("scale", [2, 4])
def test_in_tiles_as_in_memory(own, fix, scale):
    pixels, settings = picture(), Settings(scale=scale, strength=0, color_fix=fix)
    expected = own.upscale(pixels, settings).pixels
    result = in_tiles(own, pixels, settings, TileSpec(64, 16)).pixels.tensor
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
