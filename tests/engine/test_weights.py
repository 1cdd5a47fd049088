"""How strongly the low-resolution picture and the reference steer: 1 is exact, 0 is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coser_cli.engine.restoration import Restorer, Times
from coser_cli.settings import Settings
from tests.toy_upscaler import in_tiles

SETTINGS = Settings(scale=2, steps=1, strength=0.8)
PHOTO = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def predict(upscaler):
    """The prediction of one step with these weights, with or without a reference."""
    low_res = upscaler.prepare(PHOTO, SETTINGS)
    cognition = upscaler.understand(low_res, SETTINGS)
    times = Times.of(upscaler.model, (500,), cognition.embedding)
    hints = low_res.latents, low_res.latents.flip(-1)

    @torch.inference_mode()
    def run(*weights, reference=True):
        given = {"weights": weights} if weights else {}
        restorer = Restorer(upscaler.model, cognition, times, hints[: 1 + reference], **given)
        return restorer(low_res.latents, 500, 2)

    return run


def test_a_weight_of_one_is_exact(predict):
    assert torch.equal(predict(), predict(1.0, 1.0))
    torch.testing.assert_close(predict(), predict(1.0 + 1e-7, 1.0), rtol=1e-4, atol=1e-4)


def test_a_reference_of_weight_zero_is_none(predict):
    torch.testing.assert_close(predict(1.0, 0.0), predict(reference=False))
    assert not torch.allclose(predict(1.0, 0.5), predict(1.0, 0.0), atol=1e-4)


def test_both_weights_matter(predict):
    several = [predict(*weights) for weights in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    for index, one in enumerate(several):
        assert all(not torch.allclose(one, other, atol=1e-4) for other in several[:index])


def test_without_weight_no_reference_is_imagined(make_toy):
    toy, stages = make_toy(), []
    settings = replace(SETTINGS, reference_weight=0.0)
    found = toy.upscaler.upscale(
        PHOTO, settings, on_progress=lambda stage, *_: stages.append(stage)
    )
    assert "imagine" not in stages
    none = toy.upscaler.upscale(PHOTO, replace(SETTINGS, reference_mode="none"))
    assert torch.equal(found.pixels, none.pixels)


def test_tiles_do_the_same(upscaler):
    settings = replace(SETTINGS, control_weight=0.3, reference_weight=1.6)
    expected = upscaler.upscale(PHOTO, settings).pixels
    found = in_tiles(upscaler, PHOTO, settings).pixels.tensor
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
    assert (found - upscaler.upscale(PHOTO, SETTINGS).pixels).abs().max() > 1e-4
