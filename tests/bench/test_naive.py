"""The naive path is the same computation: every shortcut alone, and all of them together."""

from dataclasses import fields

import pytest
import torch

from coser_cli.bench.flops import flops_of
from coser_cli.bench.gains import RestorationStep
from coser_cli.bench.naive import Denoisers, PlainOneHotAttention, Shortcuts
from coser_cli.bench.stages import NO_STEPS, NaiveWalkthrough
from coser_cli.models.aia import OneHotAttention
from tests.bench.conftest import make_upscaler

NAMES = list(Shortcuts.names())
CHEAPER = (
    "joint_hints",
    "joint_branches",
    "shared_controls",
    "prepared_contexts",
    "prepared_times",
)
"""Shortcuts that save operations; the others save time with the same ones."""


def distance(got, wanted):
    return ((got - wanted).norm() / wanted.norm()).item()


def test_every_shortcut_has_words():
    assert all(Shortcuts.names().values())
    assert [each.name for each in fields(Shortcuts)] == NAMES
    assert not any(vars(Shortcuts.none()).values())


@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_the_prediction_is_the_same_without(step, name):
    less = Shortcuts.none() if name == "all" else Shortcuts().without(name)
    wanted = step.run(step.denoiser(Shortcuts()))
    assert wanted.shape == (2, 4, 16, 16)
    assert distance(step.run(step.denoiser(less)), wanted) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_shortcut_saves_operations_or_not(step, name):
    everything = step.denoiser(Shortcuts())
    with_it = flops_of(lambda: step.run(everything))
    without = step.denoiser(Shortcuts().without(name))
    step.run(without)  # what is prepared once is there
    counted = flops_of(lambda: step.run(without))
    assert counted > with_it if name in CHEAPER else counted == with_it


def test_the_whole_of_both_passes_is_the_same(walkthrough):
    naive = NaiveWalkthrough(walkthrough.upscaler, walkthrough.pixels, walkthrough.settings)
    naive.low_res, naive.cognition = walkthrough.low_res, walkthrough.cognition
    naive.imagine(NO_STEPS)
    assert distance(naive.reference, walkthrough.reference) <= 1e-5
    naive.restore(NO_STEPS)
    assert distance(naive.latents, walkthrough.latents) <= 1e-5


def test_without_guidance_there_is_one_branch(upscaler, walkthrough):
    cognition, low_res = walkthrough.cognition, walkthrough.low_res.latents
    denoise = Denoisers(upscaler.model, Shortcuts.none())
    with torch.inference_mode():
        alone = denoise.restoring(cognition, [5], low_res, low_res)(low_res, 5, 1)
    assert alone.shape == low_res.shape


def test_networks_are_made_anew_only_where_they_must(upscaler):
    model = upscaler.model
    same = Denoisers(model, Shortcuts().without("joint_hints").without("fused_attention"))
    assert same.unet is model.unet
    assert same.controlnet is model.controlnet
    plain = Denoisers(model, Shortcuts().without("lean_one_hot"))
    attentions = [m for m in plain.unet.modules() if isinstance(m, OneHotAttention)]
    assert attentions
    assert all(isinstance(each, PlainOneHotAttention) for each in attentions)
    kept = dict(model.unet.named_parameters())
    shared = [p.data_ptr() == kept[name].data_ptr() for name, p in plain.unet.named_parameters()]
    assert all(shared)


def test_contiguous_networks_see_contiguous_maps(upscaler, walkthrough):
    plain = Denoisers(upscaler.model, Shortcuts().without("channels_last"))
    own = upscaler.model.unet.conv_out.weight
    assert own.is_contiguous(memory_format=torch.channels_last)
    assert not own.is_contiguous()
    assert plain.unet.conv_out.weight.is_contiguous()
    seen = []
    plain.unet.conv_out.register_forward_hook(lambda _, inputs, made: seen.append(inputs[0]))
    low_res = walkthrough.low_res.latents
    with torch.inference_mode():
        denoise = plain.restoring(walkthrough.cognition, [5], low_res, low_res)
        denoise(low_res, 5, 2)
    assert seen[0].is_contiguous()


def test_the_smaller_number_type_is_a_shortcut_too(walkthrough):
    upscaler = make_upscaler(torch.bfloat16)
    hints = walkthrough.low_res.latents, walkthrough.reference
    cognition = walkthrough.cognition.to(torch.bfloat16)
    step = RestorationStep(upscaler, walkthrough.settings, cognition, *hints)
    reduced = step.run(step.denoiser(Shortcuts()))
    exact = step.run(step.denoiser(Shortcuts().without("reduced_precision")))
    assert (reduced.dtype, exact.dtype) == (torch.bfloat16, torch.float32)
    assert 1e-4 < distance(reduced.float(), exact) < 0.3
