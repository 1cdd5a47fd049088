"""Pictures of further conditions guide the result, alike whole and in tiles, by their own name."""

from dataclasses import replace

import pytest
import torch

from coser_cli.engine.tiled.cost import Task, sampling_bytes
from coser_cli.errors import InputError, UsageError
from coser_cli.settings import Settings, TileSpec
from coser_cli.size import Size
from coser_cli.tiling.grid import make_grid
from tests.toy import TOY
from tests.toy_upscaler import in_tiles

ALONE = Settings(scale=2, steps=2, strength=1.0, reference_mode="none", guidance_scale=1.5)


def noise(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def guided(make_toy):
    """The toy with attention to two further conditions that is trained somehow."""
    toy = make_toy(unet=replace(TOY.unet, conditions=("depth", "edges")))
    torch.manual_seed(3)
    unet, controlnet = toy.upscaler.model.unet, toy.upscaler.model.controlnet
    for name, parameter in unet.named_parameters():
        if "condition_" in name or name.startswith("conv_out"):
            torch.nn.init.normal_(parameter, std=0.5)  # what is attended to depends on the place
    for parameter in controlnet.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return toy.upscaler


def test_each_needs_memory_for_its_maps(guided):
    settings, grid = guided.runtime.resolve(ALONE), make_grid(Size(16, 16), 8, 4)

    def need(conditions, strength=1.0):
        own = replace(settings, strength=strength)
        task = Task(Size(8, 8), own, TileSpec(), conditions=conditions)
        return sampling_bytes(guided.model.config, grid, 1, task)

    assert need(2) - need(1) == need(1) - need(0) > 0
    assert need(2, strength=0) == need(0)


def test_each_has_an_effect_of_its_own(guided):
    pixels, picture = noise(0, 1, 3, 12, 16), noise(1, 1, 3, 24, 32)
    plain = guided.upscale(pixels, ALONE).pixels
    assert torch.equal(guided.upscale(pixels, ALONE, conditions={}).pixels, plain)
    named = {
        name: guided.upscale(pixels, ALONE, conditions={name: picture}).pixels
        for name in ("depth", "edges")
    }
    assert (named["edges"] - plain).abs().max() > 0.01
    assert (named["edges"] - named["depth"]).abs().max() > 0.01
    both = {"edges": picture, "depth": noise(2, 1, 3, 24, 32)}
    found = guided.upscale(pixels, ALONE, conditions=both).pixels
    other_order = guided.upscale(pixels, ALONE, conditions=dict(reversed(both.items()))).pixels
    torch.testing.assert_close(found, other_order, rtol=0, atol=1e-5)


@pytest.mark.parametrize("references", [0, 1, 2])
def test_what_fits_one_tile_is_guided_alike(guided, references):
    pixels, picture = noise(0, 1, 3, 12, 16), noise(1, 1, 3, 9, 30)
    guides = [noise(5 + k, 1, 3, 12, 16) for k in range(references)]
    own = replace(ALONE, reference_mode="global") if guides else ALONE
    plain = guided.upscale(pixels, own, references=guides).pixels
    expected = guided.upscale(pixels, own, references=guides, conditions={"edges": picture}).pixels
    edges = {"edges": picture}
    result = in_tiles(guided, pixels, own, references=guides, conditions=edges).pixels.tensor
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-4)
    assert (expected - plain).abs().max() > 0.01


@pytest.mark.parametrize("side", ["left", "right"])
def test_small_tiles_see_their_part_of_it(guided, side):
    pixels, picture = noise(0, 1, 3, 16, 48), noise(1, 1, 3, 32, 96)
    left, right = slice(0, 32), slice(64, 96)
    here, there = (left, right) if side == "left" else (right, left)
    other = picture.clone()
    other[..., here] = 1 - other[..., here]
    results = []
    for each in (picture, other):
        spec = TileSpec(tile_size=32, overlap=8, jitter=False)
        results.append(in_tiles(guided, pixels, ALONE, spec, conditions={"edges": each}))
    difference = (results[0].pixels.tensor - results[1].pixels.tensor).abs()
    # the autoencoder's norms see the whole picture, so that nowhere nothing changes
    assert difference[..., here].mean() > 1.2 * difference[..., there].mean()


def test_without_diffusion_it_is_not_looked_at(guided):
    pixels, still = noise(0, 1, 3, 12, 16), replace(ALONE, strength=0.0)
    expected = guided.upscale(pixels, still).pixels
    result = guided.upscale(pixels, still, conditions={"edges": noise(1, 1, 3, 24, 32)}).pixels
    assert torch.equal(result, expected)


def test_what_is_refused(guided, upscaler):
    pixels = noise(0, 1, 3, 12, 16)
    with pytest.raises(UsageError, match="has no condition 'edges'; it has none"):
        upscaler.upscale(pixels, ALONE, conditions={"edges": pixels})
    with pytest.raises(UsageError, match="has no condition 'pose'; its conditions are depth, edg"):
        guided.upscale(pixels, ALONE, conditions={"pose": pixels})
    with pytest.raises(InputError, match="range from"):
        guided.upscale(pixels, ALONE, conditions={"edges": pixels * 3})
