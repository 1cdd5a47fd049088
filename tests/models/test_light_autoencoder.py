"""The mesh-free ways up: the SRResNet's nearest upsampling and the light autoencoder's."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from coser_cli.config import ModelConfig, SRResNetConfig
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.srresnet import RECONSTRUCT_REACH, SRResNet
from coser_cli.weights.store import config_from_dict
from tests.toy import LIGHT_AUTOENCODER


@pytest.fixture
def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(LIGHT_AUTOENCODER).double().eval()


def test_latents_have_four_pixels_per_cell(autoencoder: Autoencoder) -> None:
    pixels = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    latents = autoencoder.encode(pixels)
    assert latents.shape == (2, 6, 4, 6)
    assert autoencoder.decode(latents).shape == pixels.shape


def test_constant_latents_give_no_mesh(autoencoder: Autoencoder) -> None:
    """Away from the border every pixel is the same: pixel shuffle would repeat a pattern."""
    detail = autoencoder.decoder(torch.ones(1, 6, 12, 12, dtype=torch.float64))[..., 20:-20, 20:-20]
    assert detail.std(dim=(-2, -1)).max() < 1e-12


@pytest.mark.parametrize("upsampling", ["pixel_shuffle", "nearest"])
def test_srresnet_reaches_as_far_as_it_says(upsampling: str) -> None:
    torch.manual_seed(1)
    config = SRResNetConfig(num_feat=4, num_block=1, upsampling=upsampling, up_feat=3)
    network = SRResNet(config).double().eval()
    pixels = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    whole = network(pixels)
    assert whole.shape == (1, 3, 96, 96)
    reach = RECONSTRUCT_REACH + 2 * config.num_block + 1
    part = network(pixels[..., 12 - reach : 13 + reach, 12 - reach : 13 + reach])
    inner = part[..., 4 * reach : 4 * reach + 4, 4 * reach : 4 * reach + 4]
    torch.testing.assert_close(inner, whole[..., 48:52, 48:52])


def test_configuration_survives_json() -> None:
    config = ModelConfig("toy", autoencoder=LIGHT_AUTOENCODER)
    assert config_from_dict(ModelConfig, json.loads(json.dumps(asdict(config)))) == config


def test_nearest_upsampling_draws_no_mesh() -> None:
    torch.manual_seed(2)
    config = SRResNetConfig(num_feat=4, num_block=1, upsampling="nearest", up_feat=3)
    flat = SRResNet(config).double()(torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64))
    assert flat[..., 28:-28, 28:-28].std(dim=(-2, -1)).max() < 1e-12


def test_an_unknown_upsampling_is_refused() -> None:
    with pytest.raises(ValueError, match="'bilinear' is none of"):
        SRResNet(SRResNetConfig(upsampling="bilinear"))
