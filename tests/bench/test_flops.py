"""Counted operations against counts by hand, and against those of the published model."""

import pytest
import torch
from torch import nn

from coser_cli.bench.flops import flops_of, network_flops
from coser_cli.config import MINI, SD21
from coser_cli.models.aia import OneHotAttention
from coser_cli.models.attention import Attention
from coser_cli.models.one_hot import one_hot_attention
from tests.bench.conftest import TOY


def test_a_convolution_counts_each_weight_at_each_place():
    conv, x = nn.Conv2d(3, 8, 3, padding=1), torch.zeros(2, 3, 5, 7)
    with torch.inference_mode():
        assert flops_of(lambda: conv(x)) == 2 * (3 * 3 * 3 * 8) * (5 * 7) * 2


@pytest.mark.parametrize("inference", [True, False])
def test_softmax_attention_counts_projections_and_both_products(inference):
    attention, tokens, context = (
        Attention(16, 2, 8, 12),
        torch.zeros(3, 10, 16),
        torch.zeros(3, 6, 12),
    )
    projections = 3 * (10 * 16 * 16 + 2 * 6 * 12 * 16 + 10 * 16 * 16)
    products = 3 * 2 * (10 * 6 * 8) * 2
    with torch.inference_mode(inference), torch.no_grad():
        assert flops_of(lambda: attention(tokens, context)) == 2 * (projections + products)


def test_one_hot_attention_counts_its_similarities():
    query, key = torch.randn(2, 3, 10, 8), torch.randn(2, 3, 6, 8)
    with torch.inference_mode():
        counted = flops_of(lambda: one_hot_attention(query, key, key, limit=100))
    assert counted == 2 * 2 * 3 * 10 * 6 * 8


def test_one_hot_attention_counts_its_projections():
    attention, tokens, context = (
        OneHotAttention(16, 2, 8),
        torch.randn(3, 10, 16),
        torch.randn(3, 6, 16),
    )
    projections = 2 * 10 * 16 * 16 + 2 * 6 * 16 * 16
    with torch.inference_mode():
        counted = flops_of(lambda: attention(tokens, context))
    assert counted == 2 * 3 * (projections + 10 * 6 * 16)


def test_attention_of_open_clip_is_counted():
    """Torch has a single operator for the whole layer, into which the counter does not see."""
    layer, tokens = nn.MultiheadAttention(16, 2, batch_first=True).eval(), torch.zeros(3, 10, 16)
    with torch.inference_mode():
        counted = flops_of(lambda: layer(tokens, tokens, tokens, need_weights=False))
    assert torch.backends.mha.get_fastpath_enabled()
    assert counted == 2 * 3 * (4 * 10 * 16 * 16 + 2 * 2 * 10 * 10 * 8)


def test_networks_are_counted_as_they_run(upscaler):
    """Nothing is computed for `network_flops`; what is computed counts the same."""
    counted = network_flops(TOY, 16, 16)
    model, latents = upscaler.model, torch.zeros(1, 4, 16, 16)
    pixels, small = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 8, 8)
    with torch.inference_mode():
        assert counted["decode"] == flops_of(lambda: model.autoencoder.decode(latents))
        assert counted["encode"] == flops_of(lambda: model.autoencoder.encode(pixels))
        assert counted["srresnet"] == flops_of(lambda: model.srresnet(small))
        seen = flops_of(lambda: model.cognition(pixels))
    assert counted["clip_vision"] + counted["qformer"] == seen
    assert counted["unet"] < counted["unet_aia"]
    assert all(counted.values())
    assert "text" not in counted


@pytest.mark.slow
def test_the_full_model_costs_what_its_structure_says():
    """GFLOP at 64 × 64 latents by an independent count of the layers; keys and values of the
    cross-attentions, which one call serves all steps with, are a count of their own here.
    """
    counted = {name: round(count / 1e9) for name, count in network_flops(SD21, 64, 64).items()}
    assert counted["contexts"] == 9
    expected = {"clip_vision": 335, "text": 45, "qformer": 21, "srresnet": 83}
    expected |= {"encode": 1117, "cfw": 5000, "unet": 809 - 6, "unet_aia": 1020 - 7}
    for name, gflop in expected.items():
        assert counted[name] == pytest.approx(gflop, abs=1), name
    assert counted["controlnet"] == pytest.approx(231 - 2.5, abs=1)
    assert counted["decode"] == pytest.approx(2515, abs=1)
    assert network_flops(MINI, 64, 64)["unet"] < 5e10
