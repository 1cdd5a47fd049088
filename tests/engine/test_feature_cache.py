"""Features of earlier steps: exact at an interval of one, and the right features at any other."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from coser_cli.engine.feature_cache import Kept
from coser_cli.engine.reference import Imaginer
from coser_cli.engine.restoration import Restorer, Times
from coser_cli.settings import Settings

HOW = Settings(scale=4, steps=4, sampler="ddim", guidance_scale=2.0, strength=1.0, seed=1)
TIMESTEPS = (900, 700, 500, 300, 100)


def maps(value: float, cells: int = 4) -> tuple[Tensor, ...]:
    return (torch.full((1, 1, cells, cells), float(value)),)


def test_kept_features_are_those_of_the_last_multiple():
    kept = Kept(limit=10**6)
    kept.keep(("deep", 0), 0, 3, maps(1))
    assert kept.recall(("deep", 0), 2, 3) is not None
    assert kept.recall(("deep", 0), 3, 3) is None, "step 3 computes its own"
    assert kept.recall(("deep", 1), 1, 3) is None
    kept.keep(("deep", 1), 4, 3, maps(2))
    assert kept.recall(("deep", 1), 5, 3) is not None, "computed late, because it was missing"
    assert kept.recall(("deep", 0), 5, 3) is None, "of an earlier stretch"


def test_nothing_is_kept_beyond_the_limit_or_for_nobody():
    kept = Kept(limit=2 * 4 * 16)
    for place in range(3):
        kept.keep(("deep", place), 0, 2, maps(place))
    assert [kept.recall(("deep", place), 1, 2) is not None for place in range(3)] == [1, 1, 0]
    kept.keep(("deep", 2), 2, 2, maps(2))
    assert kept.recall(("deep", 2), 3, 2) is not None, "those of steps before make room"
    kept.keep(("other", 0), 0, 1, maps(1))
    assert kept.recall(("other", 0), 0, 1) is None


@pytest.fixture
def denoisers(upscaler):
    """A function of the interval -> Restorer and Imaginer on one picture."""
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    low_res = upscaler.prepare(picture, HOW)
    cognition = upscaler.understand(low_res, HOW)
    times = Times.of(upscaler.model, TIMESTEPS, cognition.embedding)
    hints = low_res.latents, low_res.latents.flip(-1), low_res.latents.flip(-2)

    def make(how=1):
        return (
            Restorer(upscaler.model, cognition, times, hints, how),
            Imaginer(upscaler.model, cognition, times.unet, how),
        )

    return make


def latents_at(step: int, size) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(step))


@torch.inference_mode()
def predictions(denoiser, size, branches=2):
    return [denoiser(latents_at(i, size), t, branches) for i, t in enumerate(TIMESTEPS)]


def test_steps_at_multiples_are_exact_and_the_others_near(denoisers):
    exact, _ = denoisers()
    size = exact.hints[0].shape
    wanted, near = predictions(exact, size), predictions(denoisers(2)[0], size)
    for step, (one, other) in enumerate(zip(near, wanted, strict=True)):
        if step % 2 == 0:
            torch.testing.assert_close(one, other)
        else:
            assert not torch.equal(one, other)


def test_deep_features_in_the_reference_pass(denoisers):
    exact, size = denoisers()[1], denoisers()[0].hints[0].shape
    wanted, found = predictions(exact, size), predictions(denoisers(2)[1], size)
    for step in (0, 2, 4):
        torch.testing.assert_close(found[step], wanted[step])
    assert not torch.equal(found[1], wanted[1])


def test_reused_deep_features_with_the_same_latents_are_exact(denoisers, upscaler):
    """What is reused is what leads to the finest level, and nothing of that level itself."""
    exact, near = denoisers()[0], denoisers(2)[0]
    latents = latents_at(0, exact.hints[0].shape)
    with torch.inference_mode():
        near(latents, TIMESTEPS[0], 2)
        times = upscaler.model.unet.prepare_times(TIMESTEPS[:1], latents)[TIMESTEPS[0]]
        control = upscaler.model.controlnet.prepare_times(TIMESTEPS[:1], latents)[TIMESTEPS[0]]
        frozen = Times(dict.fromkeys(TIMESTEPS, times), dict.fromkeys(TIMESTEPS, control))
        same = replace(near, times=frozen)
        torch.testing.assert_close(same(latents, TIMESTEPS[1], 2), exact(latents, TIMESTEPS[0], 2))


def test_other_branches_compute_their_own(denoisers):
    near, exact = denoisers(5)[0], denoisers()[0]
    size = near.hints[0].shape
    with torch.inference_mode():
        near(latents_at(0, size), TIMESTEPS[0], 2)
        one = near(latents_at(1, size), TIMESTEPS[1], 1)
        torch.testing.assert_close(one, exact(latents_at(1, size), TIMESTEPS[1], 1))


def test_calls_that_are_spared(upscaler, monkeypatch):
    calls = {"unet": 0, "controlnet": [], "middle": 0}

    def count(network, name):
        forward = network.forward

        def counted(*args, **kwargs):
            calls[name].append(args[2].shape[0])
            return forward(*args, **kwargs)

        monkeypatch.setattr(network, "forward", counted)

    count(upscaler.model.controlnet, "controlnet")
    middle = upscaler.model.unet.mid_block.attentions[0]
    middle.register_forward_hook(lambda *_: calls.__setitem__("middle", calls["middle"] + 1))
    picture = torch.rand(1, 3, 16, 16)
    how = replace(HOW, deep_interval=2)
    upscaler.upscale(picture, how)
    assert calls["controlnet"] == [2] * 4
    assert calls["middle"] == 4, "two of four steps in each pass"
