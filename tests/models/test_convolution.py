"""Fused convolutions are the plain ones."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coser_cli.config import AutoencoderConfig, CFWConfig, SRResNetConfig
from coser_cli.models import convolution
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.cfw import CFWDecoder
from coser_cli.models.convolution import RELU, SILU, activated, added, leaky
from coser_cli.models.srresnet import SRResNet

from .conftest import randomise

SHAPES = [(3, 16, 3, 1), (16, 5, 1, 1), (8, 8, 3, 2)]


def assert_as_exact(found, expected):
    """Relative L2 distance within float32's rounding."""
    assert found.shape == expected.shape
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    incoming, outgoing, kernel, stride = request.param
    module = nn.Conv2d(incoming, outgoing, kernel, stride, kernel // 2)
    module = module.to(memory_format=torch.channels_last)
    x = torch.randn(2, incoming, 13, 18).to(memory_format=torch.channels_last)
    return module, x


@pytest.mark.parametrize("activation", [RELU, SILU, leaky(0.1)], ids=lambda a: a.name)
def test_activated_is_the_convolution_and_the_activation(case, activation):
    module, x = case
    with torch.inference_mode():
        assert_as_exact(activated(module, x, activation), activation.function(module(x)))
        half = module.to(torch.bfloat16)
        found = activated(half, x.bfloat16(), activation)
        expected = activation.function(half(x.bfloat16()))
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_added_is_the_sum_and_leaves_both_as_they_were(case):
    module, x = case
    with torch.inference_mode():
        made = module(x)
        summand = torch.randn_like(made)
        before = summand.clone(), x.clone()
        assert_as_exact(added(module, x, summand), summand + made)
        assert torch.equal(summand, before[0])
        assert torch.equal(x, before[1])
        # a map in the other memory order, or of another number type
        assert_as_exact(added(module, x, summand.contiguous()), summand + made)
        assert added(module, x, summand.double()).dtype is torch.float64


def test_gradients_flow(case):
    module, x = case
    found = added(module, x, activated(module, x, SILU))
    expected = nn.functional.silu(module(x)) + module(x)
    assert_as_exact(found, expected)
    assert found.requires_grad


def watch(monkeypatch):
    """The names of the operators that are called, by way of the one that fuses."""
    calls = []
    fused = torch.ops.mkldnn._convolution_pointwise

    class Watched:
        def __call__(self, *args):
            calls.append(args[7])
            return fused(*args)

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", Watched())
    return calls


@pytest.mark.skipif(not convolution._is_offered(), reason="this torch has no fused convolutions")
def test_it_is_done_in_one_pass_where_that_is_possible(case, monkeypatch):
    module, x = case
    calls = watch(monkeypatch)
    activated(module, x, SILU)
    with torch.inference_mode():
        activated(module.double(), x.double(), SILU)
        module.float()
        with torch.autocast("cpu", torch.bfloat16):
            activated(module, x, SILU)
        with FlopCounterMode(display=False) as counter:
            activated(module, x, SILU)
        assert counter.get_total_flops() > 0
        with torch.backends.mkldnn.flags(enabled=False):
            activated(module, x, SILU)
        assert calls == []
        activated(module, x, SILU)
    assert calls == ["swish"]


def test_networks_are_the_same_without_the_fused_operators(monkeypatch):
    config = AutoencoderConfig(
        patch_size=2,
        block_out_channels=(16, 24),
        layers_per_block=1,
        norm_num_groups=0,
        mid_block_attention=False,
    )
    cfw = CFWConfig(config, fuse_levels=(1, 0), num_fuse_blocks=1, own_encoder=False)
    networks = SRResNet(SRResNetConfig(16, 3)), Autoencoder(config), CFWDecoder(cfw)
    srresnet, vae, decoder = (
        randomise(each).to(memory_format=torch.channels_last) for each in networks
    )
    pixels = torch.rand(2, 3, 12, 20)

    @torch.inference_mode()
    def run():
        large = srresnet(pixels)
        latents, features = vae.encode_with_features(large)
        return large, latents, decoder.decode(latents, features, 0.7), vae.decode(latents)

    fused = run()
    monkeypatch.setattr(convolution, "_is_offered", lambda: False)
    for found, expected in zip(fused, run(), strict=True):
        assert_as_exact(found, expected)


def test_a_torch_without_the_operators_is_served(monkeypatch):
    convolution._is_offered.cache_clear()
    monkeypatch.delattr(torch.ops.mkldnn, "_convolution_pointwise", raising=False)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    try:
        assert not convolution._is_offered()
    finally:
        convolution._is_offered.cache_clear()
