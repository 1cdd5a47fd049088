"""A model that restores by one evaluation of the U-Net: what it computes, and what that spares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coser_cli.config import OneStep
from coser_cli.engine.restoration import Restorer, Times
from coser_cli.errors import UsageError
from coser_cli.sampling.schedulers import alphas_cumprod
from coser_cli.settings import Settings
from tests.toy_upscaler import in_tiles

STEP, REFERENCE = OneStep(300), OneStep(700)
NOISED = OneStep(700, noised=True)
SETTINGS = Settings(scale=2)


def photo(height: int = 12, width: int = 10, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def one_step(make_toy):
    """The toy with one step of each pass, or with other fields."""
    return lambda **fields: make_toy(**{"one_step": STEP, "reference": REFERENCE, **fields})


def count(network, monkeypatch) -> list[int]:
    """Batch sizes of what a network is given, one per call."""
    calls, forward = [], network.forward

    def counted(latents, *args, **kwargs):
        calls.append(len(latents))
        return forward(latents, *args, **kwargs)

    monkeypatch.setattr(network, "forward", counted)
    return calls


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_latents_are_what_the_prediction_at_that_timestep_gives(one_step, kind):
    toy = one_step().upscaler
    schedule = replace(toy.model.config.schedule, prediction_type=kind)
    upscaler = one_step(schedule=schedule).upscaler
    low_res = upscaler.prepare(photo(), SETTINGS)
    cognition = upscaler.understand(low_res, SETTINGS)
    reference = upscaler.imagine(low_res, cognition, SETTINGS)
    z = low_res.latents
    with torch.inference_mode():
        times = Times.of(upscaler.model, (300,), cognition.embedding)
        restorer = Restorer(upscaler.model, cognition, times, (z, reference))
        prediction = restorer(z, 300, 1)
    kept = alphas_cumprod(schedule)[300]
    expected = {
        "epsilon": (z - (1 - kept).sqrt() * prediction) / kept.sqrt(),
        "v_prediction": kept.sqrt() * z - (1 - kept).sqrt() * prediction,
        "sample": prediction,
    }[kind].float()
    found = upscaler.restore(low_res, cognition, reference, SETTINGS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_each_pass_is_one_call_of_one_branch(one_step, monkeypatch):
    upscaler = one_step().upscaler
    unet, controlnet = (
        count(network, monkeypatch) for network in (upscaler.model.unet, upscaler.model.controlnet)
    )
    upscaler.upscale(photo(), replace(SETTINGS, steps=7, guidance_scale=5.0, sampler="ddpm"))
    assert unet == [1, 1]
    assert controlnet == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 9},
        {"sampler": "euler"},
        {"guidance_scale": 7.0, "guidance_interval": (0.1, 0.2)},
        {"reference_steps": 3, "reference_guidance_scale": 2.0, "reference_strength": 0.0},
        {"negative_prompt": "a cat"},
        {"deep_interval": 2},
        {"seed": 5},
    ],
)
def test_what_concerns_sampling_has_no_effect(one_step, changes):
    upscaler = one_step().upscaler
    expected = upscaler.upscale(photo(), SETTINGS).pixels
    assert torch.equal(upscaler.upscale(photo(), replace(SETTINGS, **changes)).pixels, expected)


def test_strength_blends_what_is_decoded_without_and_with_the_step(one_step):
    upscaler = one_step().upscaler
    low_res = upscaler.prepare(photo(), SETTINGS)
    plain, whole, between = (
        upscaler.upscale(photo(), replace(SETTINGS, strength=strength, fidelity=0.6)).pixels
        for strength in (0.0, 1.0, 0.3)
    )
    settings = replace(SETTINGS, strength=1.0, fidelity=0.6)
    assert torch.equal(plain, upscaler.decode(low_res.latents, low_res, settings))
    inside = (plain > 0) & (plain < 1) & (whole > 0) & (whole < 1)  # before they are clamped
    assert inside.any()
    expected = torch.lerp(plain, whole, 0.3)
    torch.testing.assert_close(between[inside], expected[inside], rtol=0, atol=1e-6)
    assert (plain - whole).abs().max() > 1e-3


def test_at_strength_zero_nothing_of_diffusion_is_loaded(one_step):
    toy = one_step()
    toy.upscaler.upscale(photo(), replace(SETTINGS, strength=0.0))
    assert sorted(toy.made) == ["cfw", "vae"]


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_at_both_ends_only_what_counts_is_decoded(one_step, monkeypatch, strength):
    upscaler = one_step().upscaler
    decoded, decode = [], upscaler.model.cfw.decode

    def counted(latents, *rest):
        decoded.append(len(latents))
        return decode(latents, *rest)

    monkeypatch.setattr(upscaler.model.cfw, "decode", counted)
    upscaler.upscale(photo(), replace(SETTINGS, strength=strength))
    assert decoded == [1]


def test_pictures_of_a_batch_are_what_they_are_alone(one_step):
    upscaler, pixels = one_step().upscaler, photo(batch=2)
    both = upscaler.upscale(pixels, SETTINGS).pixels
    alone = torch.cat([upscaler.upscale(each, SETTINGS).pixels for each in pixels.split(1)])
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-5)


def test_a_model_that_imagines_nothing_takes_pictures_of_the_user(one_step, monkeypatch):
    upscaler = one_step(reference=None).upscaler
    unet, controlnet = (
        count(network, monkeypatch) for network in (upscaler.model.unet, upscaler.model.controlnet)
    )
    without = upscaler.upscale(photo(), SETTINGS)
    assert (unet, without.reference) == ([1], None)
    guided = upscaler.upscale(photo(), SETTINGS, references=[photo(9, 9)], want_reference=True)
    assert (unet, controlnet) == ([1, 1], [1, 1])
    assert guided.reference is not None
    assert (guided.pixels - without.pixels).abs().max() > 1e-4
    for settings in (SETTINGS, replace(SETTINGS, strength=0.0)):
        with pytest.raises(UsageError, match="imagines no references"):
            upscaler.upscale(photo(), settings, want_reference=True)
    with pytest.raises(UsageError, match="imagines no references"):
        upscaler.candidates(photo(), SETTINGS)


def test_a_reference_from_noise_depends_on_the_seed_and_on_its_number(one_step):
    noised = one_step(reference=NOISED).upscaler
    several = noised.reference(photo(), replace(SETTINGS, references=3))
    assert not torch.equal(several[0], several[1])
    torch.testing.assert_close(several[:1], noised.reference(photo(), SETTINGS))
    assert not torch.equal(noised.reference(photo(), replace(SETTINGS, seed=1)), several[:1])


def test_references_without_noise_are_all_alike_and_made_once(one_step, monkeypatch):
    upscaler = one_step().upscaler
    unet = count(upscaler.model.unet, monkeypatch)
    several = upscaler.reference(photo(), replace(SETTINGS, references=3))
    assert unet == [1]
    assert torch.equal(several[0], several[2])


@pytest.mark.parametrize("reference", [REFERENCE, NOISED])
@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_what_fits_one_tile_is_what_it_would_be_untiled(one_step, reference, strength):
    upscaler = one_step(reference=reference).upscaler
    settings = replace(SETTINGS, strength=strength, references=2, color_fix="adain")
    expected = upscaler.upscale(photo(), settings, want_reference=True)
    large = in_tiles(upscaler, photo(), settings, want_reference=True)
    torch.testing.assert_close(large.pixels.tensor, expected.pixels, rtol=0, atol=2e-4)
    references = torch.cat([each.tensor for each in large.references])
    torch.testing.assert_close(references, expected.reference, rtol=0, atol=2e-4)


def test_progress_tells_the_step_of_each_pass(one_step):
    steps = []
    one_step().upscaler.upscale(photo(), SETTINGS, on_progress=lambda *step: steps.append(step))
    middle = [("understand", 1, 1), ("imagine", 1, 1), ("restore", 1, 1)]
    assert steps == [("prepare", 1, 1), *middle, ("decode", 1, 1)]
