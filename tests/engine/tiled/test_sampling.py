"""Sampling in tiles is sampling: exact where tiles cannot matter, in whatever order."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coser_cli.config import ScheduleConfig
from coser_cli.engine.tiled.sampling import TiledSampler
from coser_cli.sampling.loop import sample
from coser_cli.sampling.noise import noise_rows, seeded_noise
from coser_cli.sampling.schedulers import SAMPLERS, make_scheduler
from coser_cli.size import Size
from coser_cli.tiling.canvas import Scratch, TensorMap
from coser_cli.tiling.grid import Box, make_grid

SCHEDULE = ScheduleConfig()


def pointwise(latents, timestep):
    return torch.sin(latents * 3) + timestep / 1000


def tiled(state, sampler, grid, predict=None, seed=3, **fields):
    """The latents after sampling in tiles."""
    channels, _, width = state.shape
    noise = lambda step, rows: noise_rows(seed, "restore", step, channels, rows, width)  # noqa: E731
    predict = predict or (lambda latents, tiles, timestep: pointwise(latents, timestep))
    TiledSampler(sampler, noise, grid, **fields)(predict, state)
    return state.read(Box(0, 0, *state.shape[1:]))


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(sorted(SAMPLERS)),
    st.integers(4, 90),
    st.integers(4, 50),
    st.integers(4, 24),
    st.integers(1, 5),
    st.data(),
)
def test_a_pointwise_network_does_not_see_the_tiles(name, height, width, side, batch, data):
    """So tiles, bands, batches, jitter and the noise field must all be invisible."""
    stride = data.draw(st.integers(max(1, side // 2), side))
    start = torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(1))
    draw = partial(seeded_noise(3, start.shape), "restore")
    whole = sample(pointwise, start, make_scheduler(name, SCHEDULE, 3), draw)
    offsets = data.draw(st.lists(st.integers(0, stride - 1), min_size=3, max_size=3))
    found = tiled(
        TensorMap(start.clone()),
        make_scheduler(name, SCHEDULE, 3),
        lambda step: make_grid(
            Size(height, width), side, stride, (offsets[step], offsets[-1 - step])
        ),
        batch=batch,
    )
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-4)


def test_on_disk_as_in_memory():
    start = torch.randn(1, 4, 70, 40)
    grid = make_grid(Size(70, 40), 16, 8)
    sampler = make_scheduler("ddpm", SCHEDULE, 4)
    expected = tiled(TensorMap(start.clone()), sampler, lambda step: grid)
    with Scratch() as scratch:
        canvas = scratch.canvas((4, 70, 40))
        canvas.write(Box(0, 0, 70, 40), start)
        assert torch.equal(tiled(canvas, sampler, lambda step: grid), expected)


@pytest.mark.parametrize("batch", [2, 3, 7, 100])
def test_batches_do_not_change_a_tile(batch):
    """Each tile is answered by a function of its own field only, so batches must not mix."""
    start, grid = torch.randn(1, 4, 40, 48), make_grid(Size(40, 48), 16, 8)

    def local_mean(latents, tiles, timestep):
        assert len(latents) == len(tiles) <= batch
        return latents.mean(dim=(2, 3), keepdim=True).expand_as(latents)

    sampler = make_scheduler("ddim", SCHEDULE, 3)
    alone = tiled(TensorMap(start.clone()), sampler, lambda step: grid, lambda *a: local_mean(*a))
    found = tiled(TensorMap(start.clone()), sampler, lambda step: grid, local_mean, batch=batch)
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-6)


def test_progress_counts_the_tiles_of_all_steps():
    told, grid = [], make_grid(Size(20, 20), 16, 8)
    sampler = make_scheduler("ddim", SCHEDULE, 3)
    noise = lambda step, rows: torch.zeros(1, 4, len(rows), 20)  # noqa: E731
    tiled = TiledSampler(sampler, noise, lambda step: grid, batch=3)
    tiled(lambda x, tiles, t: x, TensorMap(torch.randn(1, 4, 20, 20)), lambda *a: told.append(a))
    assert told[-1] == (12, 12)
    assert [done for done, _ in told] == [3, 4, 7, 8, 11, 12]
