"""Small results: the networks work at the model's working size, and the result is reduced."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from coser_cli.engine.compute.memory import needed_memory
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.settings import Settings
from coser_cli.size import Size
from tests.toy import TOY
from tests.toy_upscaler import in_tiles

SETTINGS = Settings(scale=2, steps=1, color_fix="adain", strength=0.5)


def photo(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(5))


def test_it_is_the_result_of_a_larger_scale_reduced(make_toy):
    pixels = photo(8, 10)
    found = make_toy(working_size=64).upscaler.upscale(pixels, SETTINGS, want_reference=True)
    large = make_toy().upscaler.upscale(pixels, replace(SETTINGS, scale=8), want_reference=True)
    for one, other in ((found.pixels, large.pixels), (found.reference, large.reference)):
        expected = F.interpolate(other, (16, 20), mode="bicubic", antialias=True).clamp(0, 1)
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("source", ["bicubic", "srresnet"])
@pytest.mark.parametrize("size", [(1, 1), (3, 90), (31, 33), (40, 33)])
@pytest.mark.parametrize("scale", [1, 1.7])
def test_sizes_are_exact(make_toy, source, size, scale):
    upscaler = make_toy(working_size=64, low_res_source=source).upscaler
    result = upscaler.upscale(photo(*size), replace(SETTINGS, scale=scale, strength=0.0))
    assert result.pixels.shape == (1, 3, round(size[0] * scale), round(size[1] * scale))


def test_large_results_are_left_alone(make_toy):
    pixels = photo(40, 36)
    expected = make_toy().upscaler.upscale(pixels, SETTINGS).pixels
    assert torch.equal(
        make_toy(working_size=64).upscaler.upscale(pixels, SETTINGS).pixels, expected
    )


@pytest.mark.parametrize(
    "made_for",
    [
        {"working_size": 48},
        {"working_size": 48, "low_res_source": "srresnet"},
        {"working_scale": 6.0, "low_res_source": "srresnet", "latents_of": "bicubic"},
    ],
)
def test_tiles_do_the_same(make_toy, made_for):
    upscaler, pixels = make_toy(**made_for).upscaler, photo(8, 10)
    expected = upscaler.upscale(pixels, SETTINGS, want_reference=True)
    large = in_tiles(upscaler, pixels, SETTINGS, vae=Tiling(32), want_reference=True)
    torch.testing.assert_close(large.pixels.tensor, expected.pixels, rtol=0, atol=2e-4)
    torch.testing.assert_close(large.references[0].tensor, expected.reference, rtol=0, atol=2e-4)


def test_memory_is_that_of_the_working_size():
    config, dtype = replace(TOY, working_size=512), torch.float32
    small = needed_memory(config, Size(16, 16), 4, dtype)
    assert small == needed_memory(TOY, Size(16, 16), 32, dtype)
    assert small == needed_memory(config, Size(128, 128), 4, dtype)
