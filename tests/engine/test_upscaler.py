from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coser_cli.engine.compute import memory
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import DeviceError, InputError
from coser_cli.sampling.noise import seeded_noise
from coser_cli.settings import COLOR_FIXES, SAMPLERS, Settings
from coser_cli.size import Size
from tests.toy_upscaler import save_toy

SIDES = st.integers(1, 40)
QUICK = Settings(scale=2, steps=1, sampler="ddim")


def photo(height: int = 12, width: int = 10) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@hypothesis_settings(max_examples=25, deadline=None)
@given(SIDES, SIDES, st.floats(1, 4, exclude_max=True))
def test_size_is_exact_for_every_input(upscaler: Upscaler, height, width, scale):
    settings = replace(QUICK, scale=scale, strength=0.0)
    pixels = upscaler.upscale(photo(height, width), settings).pixels
    assert pixels.shape == (1, 3, round(height * scale), round(width * scale))
    assert pixels.min() >= 0
    assert pixels.max() <= 1


@pytest.mark.parametrize("source", ["bicubic", "srresnet"])
@pytest.mark.parametrize(
    ("size", "scale"), [((1, 1), 1), ((1, 1), 16), ((1, 9), 7.3), ((5, 3), 2.5)]
)
def test_odd_sizes_with_diffusion(make_toy, source, size, scale):
    upscaler = make_toy(low_res_source=source).upscaler
    result = upscaler.upscale(photo(*size), replace(QUICK, scale=scale), want_reference=True)
    wanted = (1, 3, round(size[0] * scale), round(size[1] * scale))
    assert result.pixels.shape == wanted
    assert result.reference is not None
    assert result.reference.shape == wanted
    assert result.pixels.isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_seed_same_pixels(upscaler: Upscaler, sampler):
    settings = replace(QUICK, sampler=sampler, steps=3)
    first, second = (upscaler.upscale(photo(), settings).pixels for _ in range(2))
    assert torch.equal(first, second)
    other = upscaler.upscale(photo(), replace(settings, seed=1)).pixels
    assert not torch.equal(first, other)


def test_global_random_state_is_neither_used_nor_changed(upscaler: Upscaler):
    state = torch.random.get_rng_state()
    upscaler.upscale(photo(), replace(QUICK, sampler="ddpm", steps=3))
    assert torch.equal(state, torch.random.get_rng_state())


def test_upscale_is_its_stages(upscaler: Upscaler):
    settings = replace(QUICK, steps=2, fidelity=0.7, color_fix="adain")
    whole = upscaler.upscale(photo(), settings, want_reference=True)
    low_res = upscaler.prepare(photo(), settings)
    cognition = upscaler.understand(low_res, settings)
    reference = upscaler.imagine(low_res, cognition, settings)
    latents = upscaler.restore(low_res, cognition, reference, settings)
    assert torch.equal(whole.pixels, upscaler.decode(latents, low_res, settings))
    assert torch.equal(whole.reference, upscaler.decode_reference(reference, low_res))
    assert torch.equal(whole.reference, upscaler.reference(photo(), settings))


def test_given_noise_replaces_the_seed(upscaler: Upscaler):
    settings = replace(QUICK, sampler="ddpm", steps=3)
    low_res = upscaler.prepare(photo(), settings)
    cognition = upscaler.understand(low_res, settings)
    draw = seeded_noise(99, low_res.latents.shape)
    seeded = upscaler.imagine(low_res, cognition, replace(settings, seed=99))
    assert torch.equal(upscaler.imagine(low_res, cognition, settings, draw=draw), seeded)


def test_both_passes_start_from_the_same_noise(upscaler: Upscaler):
    asked = []
    settings = replace(QUICK, sampler="ddpm", steps=3)
    low_res = upscaler.prepare(photo(), settings)
    cognition = upscaler.understand(low_res, settings)

    def draw(stream: str, step: int) -> torch.Tensor:
        asked.append((stream, step))
        return torch.zeros_like(low_res.latents)

    reference = upscaler.imagine(low_res, cognition, settings, draw=draw)
    upscaler.restore(low_res, cognition, reference, settings, draw=draw)
    passes = [[("start", 0), (stream, 0), (stream, 1)] for stream in ("imagine", "restore")]
    assert asked == passes[0] + passes[1]


def count_calls(module, monkeypatch) -> list[int]:
    """Batch sizes of what a network returns, one per call."""
    calls: list[int] = []
    forward = module.forward

    def counted(*args, **kwargs):
        result = forward(*args, **kwargs)
        calls.append((result if isinstance(result, torch.Tensor) else result[0]).shape[0])
        return result

    monkeypatch.setattr(module, "forward", counted)
    return calls


@pytest.mark.parametrize(("guidance", "branches"), [(1, 1), (3, 2)])
def test_evaluations_per_step(make_toy, monkeypatch, guidance, branches):
    upscaler = make_toy().upscaler
    unet = count_calls(upscaler.model.unet, monkeypatch)
    controlnet = count_calls(upscaler.model.controlnet, monkeypatch)
    clip = count_calls(upscaler.model.cognition.clip, monkeypatch)
    settings = replace(QUICK, steps=3, guidance_scale=guidance, reference_guidance_scale=guidance)
    upscaler.upscale(photo(), settings)
    assert unet == [branches] * 6, "one call per step for all branches"
    assert controlnet == [2] * 3, "one call per step for both hints"
    assert clip == [1]


def test_contexts_are_prepared_once(make_toy, monkeypatch):
    upscaler = make_toy().upscaler
    prepared = []
    for network in (upscaler.model.unet, upscaler.model.controlnet):
        prepare = network.prepare_context
        monkeypatch.setattr(
            network,
            "prepare_context",
            lambda contexts, prepare=prepare: (prepared.append(len(contexts)), prepare(contexts))[
                1
            ],
        )
    upscaler.upscale(photo(), replace(QUICK, steps=3))
    assert prepared == [1, 1, 1], "positive and negative of the U-Net, and the ControlNet's"


def test_negative_branch_drops_the_embedding(upscaler: Upscaler):
    low_res = upscaler.prepare(photo(), QUICK)
    cognition = upscaler.understand(low_res, QUICK)
    assert cognition.positive.shape == (1, 5 + 4, 16)
    assert torch.equal(cognition.positive[:, :5], cognition.text)
    assert torch.equal(cognition.positive[:, 5:], cognition.embedding)
    assert cognition.negative.shape == (1, 5, 16)


def test_prompt_changes_the_result(upscaler: Upscaler):
    plain = upscaler.upscale(photo(), QUICK).pixels
    assert not torch.equal(plain, upscaler.upscale(photo(), replace(QUICK, prompt="a cat")).pixels)


@pytest.mark.parametrize(
    ("source", "networks"),
    [("bicubic", ["cfw", "vae"]), ("srresnet", ["cfw", "srresnet", "vae"])],
)
def test_without_diffusion_only_the_autoencoder_is_loaded(make_toy, source, networks):
    toy = make_toy(low_res_source=source)
    toy.upscaler.upscale(photo(), replace(QUICK, strength=0.0))
    assert sorted(toy.made) == networks


def test_reference_of_a_run_without_diffusion(make_toy):
    toy = make_toy()
    settings = replace(QUICK, strength=0.0)
    result = toy.upscaler.upscale(photo(), settings, want_reference=True)
    assert result.reference is not None
    assert torch.equal(result.pixels, toy.upscaler.upscale(photo(), settings).pixels)
    assert "controlnet" not in toy.made


def test_reference_mode_none(make_toy, monkeypatch):
    upscaler = make_toy().upscaler
    controlnet = count_calls(upscaler.model.controlnet, monkeypatch)
    told = []
    without = upscaler.upscale(
        photo(),
        replace(QUICK, reference_mode="none"),
        on_progress=lambda *step: told.append(step[0]),
    )
    assert controlnet == [1], "the low-resolution hint alone"
    assert "imagine" not in told
    shown = upscaler.upscale(photo(), replace(QUICK, reference_mode="none"), want_reference=True)
    assert shown.reference is not None, "imagined when asked for, but not used"
    assert torch.equal(shown.pixels, without.pixels)
    assert not torch.equal(without.pixels, upscaler.upscale(photo(), QUICK).pixels)


def test_reference_roundtrip_changes_the_reference(make_toy):
    direct = make_toy().upscaler.reference(photo(), QUICK)
    assert not torch.equal(
        direct, make_toy(reference_roundtrip=True).upscaler.reference(photo(), QUICK)
    )


def test_reference_strength_zero_is_the_input(upscaler: Upscaler):
    settings = replace(QUICK, reference_strength=0.0)
    low_res = upscaler.prepare(photo(), settings)
    cognition = upscaler.understand(low_res, settings)
    assert torch.equal(upscaler.imagine(low_res, cognition, settings), low_res.latents)


def test_progress_tells_every_step(upscaler: Upscaler):
    told = []
    upscaler.upscale(photo(), replace(QUICK, steps=2), on_progress=lambda *step: told.append(step))
    assert told == [
        ("prepare", 1, 1),
        ("understand", 1, 1),
        ("imagine", 1, 2),
        ("imagine", 2, 2),
        ("restore", 1, 2),
        ("restore", 2, 2),
        ("decode", 1, 1),
    ]


@pytest.mark.parametrize("fix", COLOR_FIXES)
def test_color_fix_ignores_the_padding(upscaler: Upscaler, fix):
    settings = replace(QUICK, scale=2.5, strength=0.0, color_fix=fix)
    low_res = upscaler.prepare(photo(5, 7), settings)
    assert low_res.padded.shape[-2:] == (12, 20)
    assert Size.of(low_res.enlarged) == low_res.size == Size(12, 18)
    pixels = upscaler.decode(low_res.latents, low_res, settings)
    if fix == "adain":
        inside = low_res.enlarged
        assert (pixels.mean() - inside.mean()).abs() < 0.1


def test_fidelity_weighs_the_input(upscaler: Upscaler):
    results = [
        upscaler.upscale(photo(), replace(QUICK, strength=0.0, fidelity=fidelity)).pixels
        for fidelity in (0.0, 0.5, 1.0)
    ]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


def test_features_come_from_the_pass_that_encodes(make_toy, monkeypatch):
    config = make_toy().upscaler.model.config
    toy = make_toy(cfw=replace(config.cfw, own_encoder=False))
    encoder = count_calls(toy.upscaler.model.autoencoder.encoder, monkeypatch)
    toy.upscaler.upscale(photo(), replace(QUICK, strength=0.0))
    assert encoder == [1]


@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        (torch.rand(8, 8), "shape"),
        (torch.rand(0, 3, 8, 8), "shape"),
        (torch.rand(1, 1, 8, 8), "shape"),
        (torch.rand(1, 3, 0, 8), "shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 8, 8), 255.0), "range"),
        (torch.full((1, 3, 8, 8), float("nan")), "range"),
    ],
)
def test_what_is_no_picture_is_refused(upscaler: Upscaler, pixels, complaint):
    with pytest.raises(InputError, match=complaint):
        upscaler.upscale(pixels, QUICK)


def test_too_little_memory_is_said_at_once(upscaler: Upscaler, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda device: 1000)
    with pytest.raises(DeviceError, match="10×12 to 20×24 pixels") as caught:
        upscaler.upscale(photo(), QUICK)
    assert "smaller scale" in caught.value.hint


def test_load_reads_a_folder(make_toy, tmp_path):
    """Saved and loaded again, the toy gives the same pixels; what is not needed is not read."""
    save_toy(tmp_path)
    wanted = make_toy().upscaler.upscale(photo(), QUICK).pixels
    loaded = Upscaler.from_pretrained(tmp_path, device="cpu", dtype="float32")
    # channels-last weights add up in another order
    torch.testing.assert_close(loaded.upscale(photo(), QUICK).pixels, wanted, atol=1e-4, rtol=0)
    shutil.rmtree(tmp_path / "unet")
    again = Upscaler.from_pretrained(tmp_path, device="cpu")
    assert again.upscale(photo(), replace(QUICK, strength=0.0)).pixels.shape == (1, 3, 24, 20)


def test_bfloat16_stays_close(make_toy):
    exact = make_toy().upscaler
    toy = make_toy()
    rough = Upscaler(Runtime(toy.upscaler.model, torch.device("cpu"), torch.bfloat16))
    for part in ("cognition", "unet", "controlnet"):
        getattr(rough.model, part).to(torch.bfloat16)
    settings = replace(QUICK, strength=0.3, guidance_scale=1.0, reference_guidance_scale=1.0)
    first, second = (u.upscale(photo(), settings).pixels for u in (exact, rough))
    assert second.dtype == torch.float32
    assert (first - second).abs().mean() < 0.05


def test_draw_is_asked_on_the_cpu(upscaler: Upscaler):
    settings = replace(QUICK, sampler="euler-ancestral", steps=2)
    low_res = upscaler.prepare(photo(), settings)
    cognition = upscaler.understand(low_res, settings)
    noise = seeded_noise(settings.seed, low_res.latents.shape)
    restore = partial(upscaler.restore, low_res, cognition, None, settings)
    assert torch.equal(restore(), restore(draw=noise))
    assert noise("restore", 0).device.type == "cpu"


def test_without_decoding_nothing_but_the_pre_restorer_is_made(make_toy):
    toy = make_toy(low_res_source="srresnet", plain_result="low_res")
    pixels = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(3))
    result = toy.upscaler.upscale(pixels, strength=0, scale=4).pixels
    assert toy.made == ["srresnet"]
    own = toy.upscaler.model.srresnet(pixels).clamp(0, 1)
    torch.testing.assert_close(result, own, rtol=0, atol=1e-6)
    toy.upscaler.upscale(pixels, strength=0, scale=4, want_reference=True, steps=1)
    assert {"vae", "unet"} < set(toy.made)
