"""References of large pictures are imagined at once, and each tile sees its part of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coser_cli.engine.tiled.reference import ReducedReference, frame_size
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.settings import Settings, TileSpec
from coser_cli.size import Size
from coser_cli.tiling.grid import Box
from tests.toy_upscaler import in_tiles

SPEC = TileSpec(tile_size=32, overlap=16)
SETTINGS = Settings(scale=4, steps=2, strength=0.5, reference_strength=0.7)


def photo(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(9))


def enlarged(upscaler, pixels, settings):
    """The result in tiles, and the references."""
    large = in_tiles(upscaler, pixels, settings, SPEC, vae=Tiling(128), want_reference=True)
    return [each.tensor for each in (large.pixels, *large.references)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 400), (300, 400)),
        ((2048, 1024), (1024, 512)),
        ((512, 6000), (131, 1536)),
        ((9000, 9000), (512, 512)),
        ((1, 9000), (1, 1536)),
    ],
)
def test_the_frame_is_reduced_to_the_native_size(size, expected):
    assert frame_size(Size(*size), 512) == Size(*expected)


def test_a_frame_that_is_not_reduced_has_the_reference_that_it_has_untiled(upscaler):
    pixels = photo(12, 15)  # 48 × 60 pixels in tiles of 32, and a native size of 512
    expected = upscaler.upscale(pixels, SETTINGS, want_reference=True).reference
    _, found = enlarged(upscaler, pixels, SETTINGS)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_a_reduced_reference_is_that_of_the_reduced_picture(make_toy):
    upscaler, pixels = make_toy(native_size=32).upscaler, photo(16, 24)
    reference = enlarged(upscaler, pixels, SETTINGS)[1]
    assert reference.shape == (1, 3, 64, 96)
    other = enlarged(upscaler, pixels, replace(SETTINGS, seed=1))[1]
    assert (reference - other).abs().max() > 1e-3
    smooth = reference - torch.nn.functional.interpolate(
        torch.nn.functional.interpolate(reference, (32, 48), mode="bicubic", antialias=True),
        (64, 96),
        mode="bicubic",
    )
    assert smooth.abs().mean() < 0.02, "it has no more detail than half its size"


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, references=2)])
@pytest.mark.parametrize("size", [(16, 24), (3, 60), (40, 9)])
def test_results_of_any_shape(make_toy, settings, size):
    upscaler = make_toy(native_size=16).upscaler
    pixels, *references = enlarged(upscaler, photo(*size), settings)
    assert pixels.isfinite().all()
    assert all(each.shape == pixels.shape for each in references)
    assert len(references) == settings.references


def test_each_tile_sees_cells_around_its_own_place():
    latents = torch.arange(8 * 12.0).view(1, 1, 8, 12)
    reference = ReducedReference(latents, None, Size(32, 48))
    assert reference.shape == (1, 32, 48)
    seen = [reference.read(Box(top, 0, top + 4, 4)) for top in (0, 12, 28)]
    assert [each[0, 0, 0, 0] // 12 for each in seen] == [0, 2, 4]
    assert reference.read(Box(0, 44, 4, 48))[0, 0, 0, -1] == 11
    torch.testing.assert_close(reference.read(Box(10, 10, 18, 22)), latents)
