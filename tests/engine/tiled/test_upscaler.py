"""The engine in tiles is the engine: equal where tiles cannot matter, and never worse off."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest
import torch

from coser_cli.engine.tiled.upscaler import TiledUpscaler
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import DeviceError, UsageError
from coser_cli.settings import Settings, TileSpec
from coser_cli.tiling.canvas import Scratch
from tests.toy_upscaler import in_tiles

SPEC = TileSpec(tile_size=64, overlap=32)
PLAIN = Settings(scale=4, steps=2, strength=0.5)


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height * width))


def enlarged(upscaler: Upscaler, pixels, settings, spec=SPEC, **how):
    """The result in tiles, as a tensor, and the pictures of the references."""
    how.setdefault("vae", Tiling(256))  # its tiles have tests of their own
    large = in_tiles(upscaler, pixels, settings, spec, want_reference=True, **how)
    return large.pixels.tensor, [each.tensor for each in large.references], large


@pytest.fixture(scope="module")
def plain(upscaler):
    """Results of `PLAIN` for a picture of six tiles, by reference mode; nobody changes them."""

    @cache
    def result(mode="global"):
        return enlarged(upscaler, picture(30, 22), replace(PLAIN, reference_mode=mode))[0]

    return result


ONE_TILE = [
    *(({}, size) for size in [(16, 16), (5, 13), (1, 1), (11, 4)]),
    ({"scale": 2.7, "color_fix": "adain"}, (16, 16)),
    ({"scale": 2.7, "color_fix": "adain"}, (1, 1)),
    ({"color_fix": "wavelet", "reference_mode": "tile"}, (5, 13)),
    ({"reference_mode": "none", "sampler": "ddpm"}, (11, 4)),
    ({"references": 3}, (5, 13)),
    ({"references": 2, "reference_select": "clip"}, (11, 4)),
    ({"reference_strength": 0.0}, (5, 13)),
    ({"strength": 0.0}, (16, 16)),
    ({"strength": 0.0}, (5, 13)),
]


@pytest.mark.parametrize(("changes", "size"), ONE_TILE)
def test_what_fits_one_tile_is_what_it_would_be_untiled(upscaler, size, changes):
    settings, pixels = replace(PLAIN, **changes), picture(*size)
    wanted = settings.reference_mode != "none"
    expected = upscaler.upscale(pixels, settings, want_reference=wanted)
    found, references, large = enlarged(upscaler, pixels, settings)
    torch.testing.assert_close(found, expected.pixels, rtol=0, atol=2e-4)
    assert large.chosen == expected.chosen
    if wanted:
        torch.testing.assert_close(torch.cat(references), expected.reference, rtol=0, atol=2e-4)


@pytest.mark.parametrize("side", [16, 24, 40])
def test_without_diffusion_tiles_never_show(upscaler, side):
    """The autoencoder is exact in tiles, and so is everything else that is left."""
    pixels, settings = picture(23, 37), replace(PLAIN, strength=0.0, color_fix="wavelet")
    expected = upscaler.upscale(pixels, settings).pixels
    found, _, _ = enlarged(upscaler, pixels, settings, vae=Tiling(side))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("mode", "batch"), [("global", 2), ("global", 5), ("tile", 5), ("none", 2)]
)
def test_batches_do_not_show(upscaler, plain, mode, batch):
    settings = replace(PLAIN, reference_mode=mode)
    result, _, _ = enlarged(upscaler, picture(30, 22), settings, tile_batch=batch)
    torch.testing.assert_close(result, plain(mode), rtol=0, atol=2e-4)


def test_reference_modes_differ_where_there_are_tiles(plain):
    for one, other in combinations(("global", "tile", "none"), 2):
        assert (plain(one) - plain(other)).abs().max() > 1e-3


def test_a_reference_is_one_picture_of_which_tiles_see_their_part(upscaler, plain):
    """Given as a file, the generated reference guides as it did when it was generated, but for
    what decoding and encoding take from it; a grey one guides differently."""
    pixels, grey = picture(30, 22), torch.full((1, 3, 30, 22), 0.5)
    guided, _, _ = enlarged(upscaler, pixels, PLAIN, references=[grey])
    assert (guided - plain("none")).abs().max() > 1e-3
    assert (guided - plain()).abs().max() > 1e-3


def test_identical_references_are_one(upscaler):
    pixels, given = picture(30, 22), picture(17, 40)
    one, _, _ = enlarged(upscaler, pixels, PLAIN, references=[given])
    three, _, _ = enlarged(upscaler, pixels, PLAIN, references=[given] * 3)
    torch.testing.assert_close(three, one, rtol=0, atol=1e-5)


def test_jitter_moves_tiles_and_only_tiles(upscaler, plain):
    pixels, jittered = picture(30, 22), replace(SPEC, jitter=True)
    moved, _, _ = enlarged(upscaler, pixels, PLAIN, jittered)
    again, _, _ = enlarged(upscaler, pixels, PLAIN, jittered)
    assert torch.equal(moved, again)
    assert (moved - plain()).abs().max() > 1e-4
    one_tile = picture(12, 12)
    torch.testing.assert_close(
        enlarged(upscaler, one_tile, PLAIN, jittered)[0],
        enlarged(upscaler, one_tile, PLAIN)[0],
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (TileSpec(tile_size=62, overlap=16), "multiple of 4: 60 or 64"),
        (TileSpec(tile_size=2, overlap=0), "multiple of 4: 4 at least"),
        (TileSpec(tile_size=64, overlap=15), "multiple of 2: 14 or 16"),
    ],
)
def test_tiles_that_networks_do_not_take_are_refused(upscaler, spec, words):
    with Scratch() as scratch, pytest.raises(UsageError, match=words):
        TiledUpscaler(upscaler.runtime, spec, scratch)


@pytest.mark.parametrize(
    ("spec", "overlap"),
    [(TileSpec(), 40), (TileSpec(overlap=256), 256), (TileSpec(64), 32), (TileSpec(64, 0), 0)],
)
def test_tiles_overlap_as_the_model_needs_unless_asked_otherwise(upscaler, spec, overlap):
    config = replace(upscaler.model.config, tile_overlap=40)
    assert spec.overlap_with(config) == overlap
    tile, stride = spec.cells(config)
    assert (tile - stride) * config.downscale == overlap


class Scarce(torch.nn.Module):
    """A U-Net on a device whose memory takes `most` tiles at once, and no more."""

    def __init__(self, unet, most: int) -> None:
        super().__init__()
        self.unet, self.most, self.batches = unet, most, []

    def prepare_context(self, contexts):
        return self.unet.prepare_context(contexts)

    def prepare_times(self, timesteps, like):
        return self.unet.prepare_times(timesteps, like)

    def forward(self, latents, *rest):
        self.batches.append(len(latents))
        if len(latents) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.unet(latents, *rest)


def scarce(make_toy, most: int):
    return make_toy(lambda part, net: Scarce(net, most) if part == "unet" else net).upscaler


def test_a_batch_that_does_not_fit_is_done_again_smaller(make_toy, plain):
    poor = scarce(make_toy, most=2)
    result, _, large = enlarged(poor, picture(30, 22), PLAIN, tile_batch=4)
    torch.testing.assert_close(result, plain(), rtol=0, atol=2e-4)
    tried = poor.model.unet.batches
    assert tried[:4] == [1, 1, 4, 2], "the reference is imagined at once"
    assert max(tried[4:]) == 2, "what was learnt is kept"
    assert any("2 tiles at a time" in note for note in large.notes)


def test_where_not_even_one_tile_fits_it_ends_in_an_error(make_toy):
    with pytest.raises(DeviceError, match="memory"):
        enlarged(scarce(make_toy, most=0), picture(30, 22), PLAIN, tile_batch=4)


def test_an_autoencoder_that_is_not_finite_is_an_error_and_no_picture(make_toy):
    def spoil(part, network):
        if part == "cfw":
            network.decoder.conv_in.weight.fill_(float("nan"))
        return network

    with pytest.raises(DeviceError, match="not a number"):
        enlarged(make_toy(spoil).upscaler, picture(30, 22), replace(PLAIN, strength=0.0))
