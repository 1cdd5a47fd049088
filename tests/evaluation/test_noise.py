"""Standings against the baseline, by numbers that can be worked out by hand."""

import math
from dataclasses import replace

import pytest

from coser_cli.evaluation.noise import compare
from coser_cli.evaluation.row_store import Row
from coser_cli.evaluation.settings_grid import Grid, evaluations

GRID = Grid(("ddim", "euler", "ddpm"), (2, 4, 9), seeds=(0, 1, 2), baseline_steps=9)
BASE = (0.30, 0.32, 0.34), (20.0, 21.0, 22.0)
"""Means of the baseline's three seeds."""
LIMIT = 2 * 0.02 * math.sqrt(4 / 3), 2 * 1.0 * math.sqrt(4 / 3)


@pytest.fixture
def table(upscaler):
    """Rows that a test fills: `add(sampler, steps, st_lpips, psnr_y, seed)`, of two pictures."""
    config = upscaler.model.config
    found = {each: each for each in GRID.combinations(config)}
    rows = {}

    def add(sampler, steps, distance, ratio, seed=0, apart=(0.0, 0.0)):
        settings = next(e for e in found if (e.sampler, e.steps) == (sampler, steps) and e.strength)
        settings = replace(settings, seed=seed)
        metrics = {
            "st_lpips": (distance - 0.1 - apart[0], distance + 0.1 + apart[0]),
            "psnr_y": (ratio + 5 + apart[1], ratio - 5 - apart[1]),
        }
        rows[settings] = Row(settings, metrics, evaluations(settings, config), 1.0 + seed)

    add.compare = lambda: compare(GRID, rows, config)
    return add


@pytest.fixture
def with_baseline(table):
    for seed, (distance, ratio) in enumerate(zip(*BASE, strict=True)):
        table("ddpm", 9, distance, ratio, seed)
    return table


def result(found, sampler, steps):
    return next(
        each
        for each in found.results
        if (each.settings.sampler, each.settings.steps) == (sampler, steps)
    )


def test_the_baseline_and_its_noise(with_baseline):
    found = with_baseline.compare()
    level = found.levels["st_lpips"]
    assert level.mean == pytest.approx(0.32)
    assert level.pictures == pytest.approx((0.22, 0.42))
    assert level.deviation == pytest.approx(0.02)
    assert level.limit() == pytest.approx(LIMIT[0])
    assert level.limit(3) == pytest.approx(2 * 0.02 * math.sqrt(2 / 3))
    assert found.levels["psnr_y"].limit() == pytest.approx(LIMIT[1])
    baseline = result(found, "ddpm", 9)
    assert (baseline.seeds, baseline.seconds, baseline.within_noise) == (3, 2.0, None)
    assert found.best is None


def test_differences_are_paired(with_baseline):
    with_baseline("ddim", 2, 0.35, 20.0, apart=(0.03, 0.5))
    value = result(with_baseline.compare(), "ddim", 2).values["st_lpips"]
    assert value.mean == pytest.approx(0.35)
    assert value.difference == pytest.approx(0.03)
    # the pictures differ by 0.00 and 0.06: a deviation of 0.06 / √2, over √2
    assert value.error == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("distance", "ratio", "expected"),
    [
        (0.32 + LIMIT[0] - 1e-6, 21.0, True),
        (0.32 + LIMIT[0] + 1e-6, 21.0, False),
        (0.32, 21.0 - LIMIT[1] + 1e-6, True),
        (0.32, 21.0 - LIMIT[1] - 1e-6, False),
        (0.01, 60.0, True),  # to be better is no fault
    ],
)
def test_within_noise_is_not_worse_by_more_than_the_limit(with_baseline, distance, ratio, expected):
    with_baseline("ddim", 2, distance, ratio)
    assert result(with_baseline.compare(), "ddim", 2).within_noise is expected


def test_more_seeds_are_held_to_less_noise(with_baseline):
    for seed in range(3):
        with_baseline("ddim", 2, 0.32 + 0.9 * LIMIT[0], 21.0, seed)
    found = result(with_baseline.compare(), "ddim", 2)
    assert found.seeds == 3
    assert found.within_noise is False


def test_the_best_has_the_fewest_evaluations_within_noise(with_baseline):
    with_baseline("ddim", 2, 0.9, 21.0)  # too bad
    with_baseline("euler", 4, 0.33, 21.0)
    with_baseline("ddim", 4, 0.31, 21.0)  # as many, and nearer
    with_baseline("ddim", 9, 0.10, 30.0)
    best = with_baseline.compare().best
    assert (best.settings.sampler, best.settings.steps) == ("ddim", 4)


def test_without_the_baselines_seeds_nothing_is_compared(table):
    table("ddim", 2, 0.3, 20.0)
    table("ddpm", 9, 0.3, 20.0)
    found = table.compare()
    assert not found.levels
    assert found.best is None
    value = result(found, "ddim", 2).values["psnr_y"]
    assert (value.difference, value.error, value.within_noise) == (None, None, None)
    assert found.missing == 8  # of three times three, and the one without diffusion
