from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coser_cli.tiling.blend import gaussian_window, published_window, tile
from coser_cli.tiling.grid import boxes

WINDOWS = [gaussian_window, published_window]


def pointwise(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    return torch.sin(latents) * timestep + latents**2


@settings(deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(2, 16), st.sampled_from(WINDOWS), st.data()
)
def test_tiling_is_exact_for_a_pointwise_denoiser(height, width, side, window, data):
    stride = data.draw(st.integers(max(1, side // 2), side))
    latents = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(0))
    denoise = tile([(box, pointwise) for box in boxes(height, width, side, stride)], window)
    step = torch.tensor(3)
    torch.testing.assert_close(denoise(latents, step), pointwise(latents, step))


def test_guidance_branches_pass_through():
    def branches(latents, timestep):
        return torch.cat([latents, -latents])

    latents = torch.randn(1, 4, 10, 10)
    blended = tile([(box, branches) for box in boxes(10, 10, 6, 4)])(latents, torch.tensor(0))
    torch.testing.assert_close(blended, torch.cat([latents, -latents]))


def test_each_tile_is_asked_with_its_own_denoiser():
    parts = boxes(4, 8, 4, 4)
    denoisers = [
        (box, partial(lambda value, latents, timestep: torch.full_like(latents, value), float(i)))
        for i, box in enumerate(parts)
    ]
    blended = tile(denoisers)(torch.zeros(1, 1, 4, 8), torch.tensor(0))
    assert blended[..., :4].eq(0).all()
    assert blended[..., 4:].eq(1).all()


def test_half_precision_predictions_do_not_lose_the_corners():
    """The window falls to 1e-10 in the corners, which float16 does not have."""
    denoise = tile([(box, lambda x, t: x.half()) for box in boxes(20, 20, 16, 8)])
    latents = torch.ones(1, 4, 20, 20)
    torch.testing.assert_close(denoise(latents, torch.tensor(0)), latents)


@pytest.mark.parametrize("side", [1, 2, 7, 16])
def test_window_is_symmetric_and_the_published_one_is_not(side):
    window = gaussian_window(side, side)
    assert torch.equal(window, window.flip(0))
    assert torch.equal(window, window.T)
    assert window.min() > 0
    published = published_window(side, side)
    torch.testing.assert_close(published, published.flip(1))
    assert side == 1 or not torch.allclose(published, published.flip(0))
