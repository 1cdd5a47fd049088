"""Pictures keep their 16 bits whatever number type diffusion computes in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coser_cli.config import OneStep
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.engine.upscaler import Upscaler
from coser_cli.settings import Settings, TileSpec
from tests.toy_upscaler import in_tiles

WIDTH, HEIGHT, SCALE = 128, 4, 4
RAMP = torch.linspace(0.1, 0.9, WIDTH).expand(1, 3, HEIGHT, WIDTH)


def mini(dtype: str, **config) -> Upscaler:
    upscaler = Upscaler.from_pretrained("mini", device="cpu", dtype=dtype)
    upscaler.model.config = replace(upscaler.model.config, **config)
    return upscaler


def whole(upscaler: Upscaler, settings: Settings) -> torch.Tensor:
    return upscaler.upscale(RAMP, settings).pixels


def tiled(upscaler: Upscaler, settings: Settings) -> torch.Tensor:
    return in_tiles(upscaler, RAMP, settings, TileSpec(128, 64), vae=Tiling(128)).pixels.tensor


def levels(pixels: torch.Tensor) -> int:
    """Different values in 16 bits."""
    return len((pixels * 65535).round().unique())


@pytest.mark.parametrize("way", [whole, tiled])
@pytest.mark.parametrize(
    ("source", "plain"), [("srresnet", "low_res"), ("srresnet", "decoded"), ("bicubic", "decoded")]
)
@pytest.mark.parametrize("fix", ["none", "wavelet", "adain"])
def test_a_16_bit_ramp_survives_where_nothing_is_diffused(way, source, plain, fix):
    settings = Settings(scale=SCALE, strength=0.0, color_fix=fix)
    narrow, wide = (
        way(mini(dtype, low_res_source=source, plain_result=plain), settings)
        for dtype in ("bfloat16", "float32")
    )
    assert torch.equal(narrow, wide)
    assert levels(narrow) > 5000  # 8 bits of precision leave some 350


@pytest.mark.parametrize("way", [whole, tiled])
def test_a_16_bit_ramp_survives_one_step_in_bfloat16(way):
    settings = Settings(scale=SCALE, strength=0.5)
    step = {"one_step": OneStep(50), "reference": None}
    narrow, wide = (way(mini(dtype, **step), settings) for dtype in ("bfloat16", "float32"))
    assert levels(narrow) > 0.95 * levels(wide)


def test_references_are_decoded_in_float32():
    upscaler = mini("bfloat16", reference_roundtrip=True)
    settings = Settings(scale=SCALE, references=2, reference_steps=1, reference_strength=0.05)
    candidates = upscaler.candidates(RAMP, settings)
    assert levels(candidates.pictures[0]) > 5000
    assert candidates.scores is not None
