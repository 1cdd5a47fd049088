"""What belongs to the published scripts alone: options, sizes, padding, patches, truncation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from coser_cli.parity.recorded import parse, settings_of, truncated
from coser_cli.parity.tiled import TiledRun, pad
from coser_cli.size import Size
from coser_cli.tiling.grid import Box


def tiled_run(height: int, width: int, *args: str) -> TiledRun:
    """A run that has its options and its picture, and needs no networks for its geometry."""
    nothing: Any = None
    run = TiledRun(nothing, "tiled", nothing)
    run.__dict__ |= {"options": parse(list(args)), "pixels": torch.rand(1, 3, height, width)}
    return run


def test_options():
    args = "--ddpm_steps 7 --cfg 2.5 --cfg_ref 1 --seed 3 --wocfw --vqgan_ckpt /x --dec_w 0.2"
    options = parse([*args.split(), "--colorfix_type", "adain"])
    assert options.wocfw
    settings = settings_of(options)
    assert (settings.steps, settings.guidance_scale, settings.reference_guidance_scale) == (
        7,
        2.5,
        1,
    )
    assert (settings.fidelity, settings.color_fix, settings.sampler) == (0.2, "adain", "ddpm")
    assert settings_of(parse([])).color_fix == "none"
    assert not parse([]).wocfw


def test_truncated_cuts_and_clamps():
    pixels = torch.tensor([-1.0, 0.999 / 255, 254.9 / 255, 2.0]).reshape(1, 1, 2, 2)
    assert truncated(pixels.expand(1, 3, 2, 2))[..., 0].tolist() == [[0, 0], [254, 255]]


@pytest.mark.parametrize(
    ("size", "padded"), [((64, 96), (64, 96)), ((64, 70), (96, 96)), ((50, 70), (64, 96))]
)
def test_padding_of_one_side_pads_the_other(size, padded):
    assert pad(torch.rand(1, 3, *size)).shape[-2:] == padded


def test_small_pictures_are_enlarged_more_and_end_distorted():
    run = tiled_run(24, 40, "--input_size", "128")
    size, scale = run._enlarged_size()
    assert size.height == 128
    assert scale == pytest.approx(128 / 24)
    padded = pad(torch.rand(1, 3, *size.hw))
    assert run._resized(padded, size, scale).shape[-2:] == (120, 168)


def test_large_enough_pictures_keep_their_size():
    run = tiled_run(48, 64, "--input_size", "128")
    size, scale = run._enlarged_size()
    assert (size, scale) == (Size(192, 256), 4)
    padded = pad(torch.rand(1, 3, *size.hw))
    assert run._resized(padded, size, scale).shape[-2:] == (192, 256)


def test_patches():
    run = tiled_run(8, 8, "--vqgantile_size", "160", "--vqgantile_stride", "128")
    wide = torch.empty(1, 3, 160, 224)
    assert run._patches(wide) == [Box(0, 0, 160, 160), Box(0, 64, 160, 224)]
    assert run._patches(wide[..., :160]) == [Box(0, 0, 160, 160)]
