"""Models with other parts than the published ones: more latent channels, no norms, no CFW."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coser_cli.config import OneStep
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.settings import Settings
from tests.toy import AUTOENCODER, TOY
from tests.toy_upscaler import in_tiles

CHANNELS = 16
WIDE = replace(AUTOENCODER, latent_channels=CHANNELS)
NORM_FREE = replace(WIDE, norm_num_groups=0, mid_block_attention=False)
UNET = replace(TOY.unet, in_channels=CHANNELS, out_channels=CHANNELS)
CONTROLNET = replace(TOY.controlnet, in_channels=CHANNELS)
PHOTO = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(3))
SETTINGS = Settings(scale=2, steps=1)

MODELS = {
    "wide latents": {
        "autoencoder": WIDE,
        "cfw": replace(TOY.cfw, autoencoder=WIDE),
        "unet": UNET,
        "controlnet": CONTROLNET,
    },
    "no CFW": {"cfw": None},
    "all of it": {
        "autoencoder": NORM_FREE,
        "cfw": None,
        "unet": replace(UNET, norm_num_groups=0),
        "controlnet": replace(CONTROLNET, norm_num_groups=0),
        "one_step": OneStep(200),
        "reference": OneStep(600, noised=True),
        "low_res_source": "srresnet",
    },
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_they_run_and_tiles_change_nothing_where_one_suffices(make_toy, name, strength):
    upscaler = make_toy(**MODELS[name]).upscaler
    settings = replace(SETTINGS, strength=strength, fidelity=0.5)
    expected = upscaler.upscale(PHOTO, settings, want_reference=True)
    assert expected.pixels.shape == (1, 3, 24, 20)
    large = in_tiles(upscaler, PHOTO, settings, vae=Tiling(32), want_reference=True)
    torch.testing.assert_close(large.pixels.tensor, expected.pixels, rtol=0, atol=2e-4)
    torch.testing.assert_close(large.references[0].tensor, expected.reference, rtol=0, atol=2e-4)


def test_without_cfw_its_weights_are_not_looked_for(make_toy):
    toy = make_toy(cfw=None)
    toy.upscaler.upscale(PHOTO, replace(SETTINGS, strength=0.0))
    assert toy.made == ["vae"]
    assert toy.upscaler.model.cfw is None
