"""The tiled autoencoder is the untiled one, whatever the tiles."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from coser_cli.config import (
    MINI,
    SD21,
    AutoencoderConfig,
    CFWConfig,
    ModelConfig,
)
from coser_cli.engine.tiled.vae import TiledPass, Tiling, decoding, encoding
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.build import CoSeR, make_network, skeleton
from coser_cli.size import Size
from coser_cli.tiling.canvas import Scratch, TensorMap
from coser_cli.tiling.grid import Box
from coser_cli.tiling.plan import schedule
from coser_cli.weights.load import load_model
from tests.toy import LIGHT_AUTOENCODER, TOY
from tests.toy_upscaler import toy_part

TOLERANCE = 1e-4
"""Of pixels in [0, 1], float32."""

NORMED = AutoencoderConfig(block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4)
PLAIN = AutoencoderConfig(
    patch_size=2,
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=0,
    mid_block_attention=False,
    scaling_factor=0.5,
)
CONFIGS = {
    "sd21-like": replace(
        TOY,
        autoencoder=NORMED,
        cfw=CFWConfig(NORMED, fuse_levels=(2, 1), num_fuse_blocks=2, growth_channels=4),
    ),
    "mini-like": replace(
        TOY,
        autoencoder=PLAIN,
        cfw=CFWConfig(
            PLAIN, fuse_levels=(1, 0), num_fuse_blocks=1, growth_channels=4, own_encoder=False
        ),
    ),
}
F_ = 4
"""Pixels per latent cell, of both."""


def toy(config: ModelConfig, dtype: torch.dtype = torch.float32, cfw: bool = True) -> CoSeR:
    return CoSeR(
        config,
        lambda part: None if part == "cfw" and not cfw else toy_part(config, part).to(dtype),
    )


MODELS = {name: toy(config) for name, config in CONFIGS.items()}
DOUBLES = {name: toy(config, torch.float64) for name, config in CONFIGS.items()}

LIGHT = toy(replace(TOY, autoencoder=LIGHT_AUTOENCODER), torch.float64, cfw=False)


def run(tiled: TiledPass, **tensors: torch.Tensor) -> torch.Tensor:
    shape = (1, *tiled.plan.output.shape)
    target = TensorMap(torch.full(shape, torch.nan, dtype=next(iter(tensors.values())).dtype))
    with Scratch() as scratch:
        tiled.run({name: TensorMap(t) for name, t in tensors.items()}, target.write, scratch)
    return target.tensor


def untiled(model: CoSeR, latents: torch.Tensor, pixels: torch.Tensor, fidelity: float):
    if model.cfw is None:
        return model.autoencoder.decode(latents)
    if model.cfw.config.own_encoder:
        features = model.cfw.features(pixels)
    else:
        features = model.autoencoder.encode_with_features(pixels)[1]
    return model.cfw.decode(latents, features, fidelity)


def photo(height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Noise on a step: dark on the left, bright on the right."""
    pixels = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    pixels[..., : width // 2] *= 0.1
    return pixels.to(dtype)


def hard_latents(model: CoSeR, pixels: torch.Tensor) -> torch.Tensor:
    """Latents of the photo with a level that jumps by many spreads from region to region."""
    latents = model.autoencoder.encode(pixels)
    spread = latents.std()
    height, width = latents.shape[-2:]
    rows = torch.arange(height)[:, None] * 3 // height
    columns = torch.arange(width) * 3 // width
    level = ((rows * 5 + columns * 3) % 7 - 3).to(latents)
    return latents + 5 * spread * level


@pytest.mark.parametrize("name", CONFIGS)
@settings(deadline=None, max_examples=12)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    tile=st.integers(1, 60),
    fidelity=st.sampled_from([0.0, 0.7, 1.0]),
)
def test_equal_in_float64_at_any_size_and_tile(name, rows, columns, tile, fidelity):
    model, size, tiling = DOUBLES[name], (F_ * rows, F_ * columns), Tiling(tile)
    pixels = photo(*size, torch.float64)
    latents = hard_latents(model, pixels)
    found = run(encoding(model, Size(*size), tiling), pixels=pixels)
    assert (found - model.autoencoder.encode(pixels)).abs().max() <= 1e-10
    found = run(decoding(model, Size(*size), tiling, fidelity), latents=latents, pixels=pixels)
    expected = untiled(model, latents, pixels, fidelity)
    assert (found - expected).abs().max() <= 1e-10


@pytest.mark.parametrize("tile", [16, 37, 64, 1000])
@pytest.mark.parametrize("cfw", [True, False], ids=["cfw", "plain"])
@pytest.mark.parametrize("name", CONFIGS)
def test_equal_in_float32(name, cfw, tile):
    model, size = toy(CONFIGS[name], cfw=cfw), (72, 104)
    pixels = photo(*size)
    latents = hard_latents(model, pixels)
    maps = {"latents": latents, "pixels": pixels} if cfw else {"latents": latents}
    found = run(decoding(model, Size(*size), Tiling(tile), 0.5), **maps)
    expected = untiled(model, latents, pixels, 0.5)
    scale = max(1.0, float(expected.abs().max()))
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= TOLERANCE * scale
    found = run(encoding(model, Size(*size), Tiling(tile)), pixels=pixels)
    assert (found - model.autoencoder.encode(pixels)).abs().max() <= TOLERANCE


@settings(deadline=None, max_examples=12)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    tile=st.integers(1, 60),
)
def test_light_autoencoder_is_equal_at_any_size_and_tile(rows, columns, tile):
    model, size = LIGHT, (F_ * rows, F_ * columns)
    pixels = photo(*size, torch.float64)
    latents = model.autoencoder.encode(pixels)
    found = run(encoding(model, Size(*size), Tiling(tile)), pixels=pixels)
    assert (found - latents).abs().max() <= 1e-10
    tiled = decoding(model, Size(*size), Tiling(tile), None)
    found = run(tiled, latents=latents)
    assert (found - model.autoencoder.decode(latents)).abs().max() <= 1e-10


def test_equal_for_the_bundled_model():
    model, size = load_model("mini"), (136, 168)
    pixels = F.interpolate(photo(34, 42), size=size, mode="bicubic").clamp(0, 1)
    latents = model.autoencoder.encode(pixels)
    tiling = Tiling(64)
    assert (
        run(encoding(model, Size(*size), tiling), pixels=pixels) - latents
    ).abs().max() <= TOLERANCE
    for case in (latents, hard_latents(model, pixels)):
        found = run(decoding(model, Size(*size), tiling, 1.0), latents=case, pixels=pixels)
        assert (found - untiled(model, case, pixels, 1.0)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision_is_as_near_as_the_untiled_network(name):
    """Maps are stored in the number type of the computation: storing adds no error."""
    exact, half, size = MODELS[name], toy(CONFIGS[name], torch.bfloat16), (48, 64)
    pixels = photo(*size)
    latents = exact.autoencoder.encode(pixels)
    expected = untiled(exact, latents, pixels, 0.5)
    plain = untiled(half, latents.bfloat16(), pixels.bfloat16(), 0.5).float()
    found = run(decoding(half, Size(*size), Tiling(24), 0.5), latents=latents, pixels=pixels)
    assert found.dtype == torch.float32
    assert (found - expected).square().mean() <= 1.2 * (plain - expected).square().mean()


def test_a_tile_reads_its_receptive_field_and_no_more():
    """The halo against the gradient of the untiled network: no number that was thought out."""
    model, size = DOUBLES["mini-like"], (400, 400)
    pixels = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    latents = torch.randn(1, 4, 100, 100, dtype=torch.float64, requires_grad=True)
    box = Box(200, 204, 204, 208)
    box.crop(untiled(model, latents, pixels, 1.0)).square().sum().backward()
    tiled = decoding(model, Size(*size), Tiling(4), 1.0)
    asked = {work.node: work.box for work in schedule({tiled.plan.output: box}, ())}
    for name, tensor in (("latents", latents), ("pixels", pixels)):
        touched = tensor.grad.abs().amax((0, 1)) > 0
        rows, columns = (touched.any(side).nonzero() for side in (1, 0))
        field = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        assert asked[tiled.sources[name]] == field


def test_attention_in_windows_is_said_and_nearly_the_same():
    model, size = MODELS["sd21-like"], (72, 104)
    pixels = photo(*size)
    latents = model.autoencoder.encode(pixels)
    assert decoding(model, Size(*size), Tiling(32), 0.5).note is None
    tiled = decoding(model, Size(*size), Tiling(32, attention_tokens=200), 0.5)
    assert "26×18" in tiled.note
    error = run(tiled, latents=latents, pixels=pixels) - untiled(model, latents, pixels, 0.5)
    assert 0 < error.abs().max() < 0.1


def blank(config):
    """A model without weights: enough to ask what a pass would cost."""
    return CoSeR(config, lambda part: skeleton(partial(make_network, config, part)))


def test_costs_are_known_without_weights():
    tiling, size = Tiling(512), (4096, 6144)
    full = blank(SD21)
    plans = [
        encoding(full, Size(*size), tiling).plan,
        decoding(full, Size(*size), tiling, 1.0).plan,
    ]
    per_pixel = [plan.scratch_bytes / (size[0] * size[1]) for plan in plans]
    assert per_pixel == [1536, 2048]
    assert all(1e9 < plan.memory_bytes < 2e9 for plan in plans)
    mini = blank(MINI)
    assert decoding(mini, Size(*size), tiling, 1.0).plan.scratch_bytes == 0
    assert decoding(mini, Size(*size), tiling, 1.0).plan.memory_bytes < 4e8


def test_sizes_that_do_not_fit_the_latents_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        encoding(MODELS["mini-like"], Size(72, 103), Tiling())


def test_the_plan_of_the_plain_decoder_needs_no_picture():
    model = toy(CONFIGS["mini-like"], cfw=False)
    assert isinstance(model.autoencoder, Autoencoder)
    assert set(decoding(model, Size(16, 16), Tiling(), 1.0).sources) == {"latents"}


PEAK = """
import resource, sys, torch
torch.set_num_threads(1)
from tests.engine.tiled.test_vae import CONFIGS, toy
from coser_cli.engine.tiled.vae import Tiling, decoding, encoding
from coser_cli.tiling.canvas import Scratch
from coser_cli.tiling.grid import cores
from coser_cli.size import Size

name, side = sys.argv[1], int(sys.argv[2])
model = toy(CONFIGS[name])
with Scratch() as scratch:
    pixels, latents, result = (
        scratch.canvas(shape)
        for shape in ((3, side, side), (4, side // 4, side // 4), (3, side, side))
    )
    for box in cores(Size(side, side), 256):
        pixels.write(box, torch.rand(1, 3, box.height, box.width))
    encoding(model, Size(side, side), Tiling(256)).run({"pixels": pixels}, latents.write, scratch)
    tiled = decoding(model, Size(side, side), Tiling(256), 1.0)
    tiled.run({"pixels": pixels, "latents": latents}, result.write, scratch)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units")
def test_memory_does_not_grow_with_the_picture():
    """1 and 9 megapixels: nine times the pixels, 96 MB more of them."""
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, "mini-like", str(side)],
                check=True,
                capture_output=True,
                cwd=Path(__file__).parents[3],
                text=True,
            ).stdout
        )
        for side in (1024, 3072)
    ]
    assert peaks[1] - peaks[0] < 30e6
