"""What is measured, in what order; evaluations as counted by the networks themselves."""

from dataclasses import replace

import pytest
import torch

from coser_cli.errors import UsageError
from coser_cli.evaluation.settings_grid import Evaluations, Grid, evaluations
from coser_cli.settings import SAMPLERS, Settings

FULL = Settings(steps=5, sampler="ddim", strength=1.0, reference_strength=1.0)


class Counter:
    """Counts what the networks really compute: branches of the U-Net, hints of the ControlNet."""

    def __init__(self, model, pictures):
        self.pictures, self.reference, self.result, self.controlnet = pictures, 0, 0, 0
        self.handles = [
            model.unet.conv_out.register_forward_hook(self._unet),
            model.controlnet.register_forward_hook(self._controlnet),
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def _unet(self, _, __, output):
        branches = len(output) // self.pictures
        if self.controlnet:  # it has its say before each step of the result
            self.result += branches
        else:
            self.reference += branches

    def _controlnet(self, _, __, output):
        self.controlnet += len(output[0]) // self.pictures

    def found(self):
        return Evaluations(self.reference, self.result, self.controlnet)


@pytest.mark.parametrize(
    "settings",
    [
        FULL,
        replace(FULL, guidance_interval=(0.2, 0.8)),
        replace(FULL, reference_steps=2),
        replace(FULL, guidance_scale=1.0),
        replace(FULL, reference_guidance_scale=1.0, guidance_interval=(0.0, 0.5)),
        replace(FULL, references=2),
        replace(FULL, reference_mode="none"),
        replace(FULL, reference_strength=0.0),
        replace(FULL, deep_interval=2),
        replace(FULL, strength=0.0),
        replace(FULL, strength=0.002, steps=50),  # fewer timesteps than steps
        *(replace(FULL, sampler=name, steps=steps) for name in SAMPLERS for steps in (1, 4)),
    ],
)
def test_evaluations_are_what_the_networks_compute(upscaler, settings):
    settings = upscaler.resolve(settings)
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with Counter(upscaler.model, pictures=2) as counter:
        upscaler.upscale(pixels, settings)
    assert evaluations(settings, upscaler.model.config) == counter.found()


def test_a_guided_step_counts_twice(upscaler):
    config = upscaler.model.config
    found = evaluations(upscaler.resolve(FULL), config)
    assert found == Evaluations(reference_unet=10, unet=10, controlnet=10)
    assert found.total == 20
    part = evaluations(upscaler.resolve(replace(FULL, guidance_interval=(0.2, 0.8))), config)
    assert part == Evaluations(reference_unet=8, unet=8, controlnet=10)


def make_grid(**more):
    values = {"samplers": ("ddim", "ddpm"), "steps": (2, 6), "baseline_steps": 6}
    return Grid(**(values | more))


def test_every_combination_once(upscaler):
    intervals, references = ((0.0, 1.0), (0.2, 0.8)), (None, 3)
    grid = make_grid(intervals=intervals, reference_steps=references)
    found = grid.combinations(upscaler.model.config)
    told = [
        (each.sampler, each.steps, each.guidance_interval, each.reference_steps)
        for each in found
        if each.strength
    ]
    expected = {
        (sampler, steps, interval, reference)
        for sampler in ("ddim", "ddpm")
        for interval in intervals
        for steps, reference in ((2, 2), (6, 6), (6, 3))  # not three steps for two
    }
    assert len(told) == len(expected) == len(found) - 1  # and the one without diffusion
    assert set(told) == expected
    assert {(each.strength, each.reference_strength) for each in found[1:]} == {(1.0, 1.0)}


def test_cheap_ones_first_then_the_baseline_and_its_seeds(upscaler):
    grid = make_grid(steps=(2, 4, 6), seeds=(5, 6, 7))
    found = grid.runs(upscaler.model.config)
    told = [(each.sampler, each.steps, each.seed) for each in found if each.strength]
    assert not found[0].strength
    assert sorted(told[:2]) == [("ddim", 2, 5), ("ddpm", 2, 5)]
    assert told[2:5] == [("ddpm", 6, 5), ("ddpm", 6, 6), ("ddpm", 6, 7)]
    assert sorted(told[5:7]) == [("ddim", 4, 5), ("ddpm", 4, 5)]
    assert told[7:] == [("ddim", 6, 5)]


def test_the_baseline_is_there_whatever_is_asked_for(upscaler):
    grid = make_grid(samplers=("euler",), steps=(2,), strength=0.5, baseline_steps=9)
    found = grid.runs(upscaler.model.config)
    baselines = [each for each in found if each.sampler == "ddpm" and each.strength]
    assert [each.seed for each in baselines] == [0, 1, 2]
    assert {each.steps for each in baselines} == {each.reference_steps for each in baselines} == {9}
    assert {each.strength for each in baselines} == {0.5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": 0.0}, "strength 0"),
        ({"strength": 2.0}, "strength must be"),
        ({"samplers": ("magic",)}, "sampler must be one of"),
        ({"steps": (0,)}, "steps must be"),
        ({"intervals": ((0.5, 0.2),)}, "guidance_interval"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(UsageError, match=message):
        make_grid(**values)
