"""Where tiles met, nothing shows: gradients on their lines have the energy that they would have had
without tiles, measured against the energy elsewhere.

Naive tiles are measured, too, so that the metric is known to see seams where there are some.
"""

from __future__ import annotations

import pytest
import torch

from coser_cli.engine.upscaler import Upscaler
from coser_cli.settings import Settings, TileSpec
from coser_cli.tiling.grid import starts
from tests.toy_upscaler import in_tiles

SIDE, TILE = 96, 128
SETTINGS = Settings(scale=4, steps=3, strength=0.5, reference_mode="none")
PHASE = 16
"""Lines are compared with others at multiples of this: the networks' own grid shows at each."""


def flat() -> torch.Tensor:
    return torch.full((1, 3, SIDE, SIDE), 0.5)


def gradient() -> torch.Tensor:
    ramp = torch.linspace(0.2, 0.8, SIDE)
    return ((ramp[:, None] + ramp) / 2).expand(1, 3, SIDE, SIDE).contiguous()


def textured() -> torch.Tensor:
    noise = torch.rand(1, 3, SIDE + 2, SIDE + 2, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise, 3, stride=1)


def seam_energy(pixels: torch.Tensor, lines: list[int]) -> float:
    """Mean squared step across the lines, rows and columns, over that across other lines."""
    across = (pixels[..., 1:] - pixels[..., :-1]).square().mean(dim=(0, 1, 2))
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).square().mean(dim=(0, 1, 3))
    energy = across + down
    others = [line for line in range(PHASE, len(energy), PHASE) if line not in lines]
    on_lines, elsewhere = (energy[[at - 1 for at in each]].mean() for each in (lines, others))
    return (on_lines / elsewhere).item()


def lines_of(overlap: int) -> list[int]:
    """Where tiles begin and end."""
    begins = starts(SIDE * 4, TILE, TILE - overlap)
    return sorted({edge for begin in begins for edge in (begin, begin + TILE)} - {0, SIDE * 4})


def seams(upscaler: Upscaler, pixels: torch.Tensor, overlap: int) -> tuple[float, float]:
    """The seam energy of a result in tiles, 1 where it is that of the result without tiles, and
    the mean difference of the two in levels of 255.
    """
    lines = lines_of(overlap)
    result = in_tiles(upscaler, pixels, SETTINGS, TileSpec(TILE, overlap)).pixels.tensor
    whole = upscaler.upscale(pixels, SETTINGS).pixels
    change = (result - whole).abs().mean().item() * 255
    return seam_energy(result, lines) / seam_energy(whole, lines), change


@pytest.fixture(scope="module")
def mini() -> Upscaler:
    return Upscaler.from_pretrained("mini", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("make", [flat, gradient, textured])
def test_tiles_do_not_show_and_naive_ones_do(mini, make):
    """On a flat picture differences are far below a level, and their ratio says nothing."""
    pixels = make()
    (ours, change), (_, naive) = (seams(mini, pixels, overlap) for overlap in (TILE // 2, 0))
    print(f"{make.__name__}: {ours:.3f}; {change:.3f} levels with overlap, {naive:.3f} without")
    assert change < 0.05 or abs(ours - 1) <= 0.05
    assert change <= 0.5
    assert naive > 1.5 * change
