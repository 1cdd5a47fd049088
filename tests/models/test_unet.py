from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.config import ControlNetConfig, UNetConfig
from coser_cli.models.aia import is_aia_parameter, is_condition_parameter
from coser_cli.models.controlnet import ControlNet, controlnet_from_unet
from coser_cli.models.resnet import sinusoids
from coser_cli.models.unet import (
    Controls,
    UNet,
    initialise_aia_from_base,
)
from coser_cli.models.unet_encoder import map_channels, map_places

from .conftest import CONTROLNET, UNET, assert_near, randomise

LATENTS = (2, 4, 8, 12)


@pytest.fixture
def unet():
    return randomise(UNet(UNET))


@pytest.fixture
def controlnet():
    return randomise(ControlNet(CONTROLNET))


@pytest.fixture
def inputs():
    return torch.randn(LATENTS), torch.tensor([3, 700])


@pytest.fixture
def contexts():
    return [torch.randn(2, 9, 24), torch.randn(1, 4, 24)]


def controls_of(controlnet, latents, timesteps, context):
    hints = torch.randn(2 * len(latents), 4, 8, 12)
    maps = controlnet(latents, timesteps, hints, controlnet.prepare_context([context]))
    return Controls(*(tuple(half) for half in zip(*(m.chunk(2) for m in maps), strict=True)))


@pytest.mark.parametrize("controlled", [True, False])
def test_two_guidance_branches_are_two_calls(unet, controlnet, inputs, contexts, controlled):
    controls = controls_of(controlnet, *inputs, contexts[0]) if controlled else None
    both = unet(*inputs, unet.prepare_context(contexts), controls)
    singles = [unet(*inputs, unet.prepare_context([c]), controls) for c in contexts]
    assert both.shape == (4, 4, 8, 12)
    assert_near(both, torch.cat(singles))


def test_a_batch_is_its_rows(unet, controlnet, inputs, contexts):
    controls = controls_of(controlnet, *inputs, contexts[0])
    whole = unet(*inputs, unet.prepare_context(contexts[:1]), controls)
    for row in range(2):
        one = slice(row, row + 1)
        cut = Controls(
            tuple(m[one] for m in controls.low_res), tuple(m[one] for m in controls.reference)
        )
        single = unet(inputs[0][one], inputs[1][one], unet.prepare_context([contexts[0][one]]), cut)
        assert_near(whole[one], single)


def test_what_is_equal_in_both_branches_runs_once(unet, controlnet, inputs, contexts):
    """The reference attention, the keys of the low-resolution attention, and everything before the
    first cross-attention see the batch of the latents, not of the branches."""
    controls = controls_of(controlnet, *inputs, contexts[0])
    seen = {}

    def watch(name):
        return lambda module, args: seen.__setitem__(name, args[0].shape[0])

    last = unet.up_blocks[-1].attentions[-1].block
    watched = {
        "reference": last.reference_attn.to_q,
        "low_res keys": last.low_res_attn.to_k,
        "first self-attention": unet.down_blocks[0].attentions[0].block.attn1.to_q,
        "last self-attention": last.attn1.to_q,
    }
    for name, module in watched.items():
        module.register_forward_pre_hook(watch(name))
    unet(*inputs, unet.prepare_context(contexts), controls)
    assert seen == {
        "reference": 2,
        "low_res keys": 2,
        "first self-attention": 2,
        "last self-attention": 4,
    }


def test_fresh_aia_changes_nothing(controlnet, inputs, contexts):
    unet = UNet(UNET).eval()
    context = unet.prepare_context(contexts)
    controls = controls_of(controlnet, *inputs, contexts[0])
    assert_near(unet(*inputs, context, controls), unet(*inputs, context))


def test_initialising_aia_copies_the_base_and_leaves_the_output_alone(inputs, contexts):
    unet = UNet(UNET).eval()
    before = unet(*inputs, unet.prepare_context(contexts))
    initialise_aia_from_base(unet)
    assert_near(unet(*inputs, unet.prepare_context(contexts)), before)
    transformer = unet.mid_block.attentions[0]
    block = transformer.block
    assert torch.equal(block.reference_attn.to_k.weight, block.attn1.to_k.weight)
    assert torch.equal(transformer.low_res_proj.weight, transformer.proj_in.weight)
    assert not block.low_res_out.weight.any()


def test_with_zero_projections_only_these_learn_first(inputs, contexts, controlnet):
    unet = UNet(UNET)
    controls = controls_of(controlnet, *inputs, contexts[0])
    unet(*inputs, unet.prepare_context(contexts[:1]), controls).square().mean().backward()
    block = unet.up_blocks[-1].attentions[-1].block
    assert block.reference_out.weight.grad.any()
    assert not block.reference_attn.to_v.weight.grad.any()


def test_gradients_reach_every_parameter(unet, controlnet, inputs, contexts):
    context = [contexts[0].requires_grad_()]
    controls = controls_of(controlnet, *inputs, contexts[0])
    unet(*inputs, unet.prepare_context(context), controls).square().mean().backward()
    lost = [
        n for n, p in (*unet.named_parameters(), *controlnet.named_parameters()) if p.grad is None
    ]
    # the maps that enter at the one level without attention have no reader
    assert lost == [f"controlnet_down_blocks.{i}.{p}" for i in (4, 5) for p in ("weight", "bias")]
    assert contexts[0].grad.any()


def test_aia_parameters_are_told_apart():
    names = [name for name, _ in UNet(UNET).named_parameters()]
    base = UNet(UNET).state_dict().keys() - {n for n in names if is_aia_parameter(n)}
    assert not any("low_res" in name or "reference" in name for name in base)
    assert all(".attentions." in name for name in names if is_aia_parameter(name))


def test_the_full_model_has_the_published_size():
    with torch.device("meta"):
        networks = UNet(UNetConfig(project_reference=True)), ControlNet(ControlNetConfig())
    millions = [sum(p.numel() for p in network.parameters()) / 1e6 for network in networks]
    # 981.53 are published for the U-Net, among them a norm of each AiA block that is never run
    assert millions == pytest.approx([981.53 - 0.016, 344.12], abs=0.01)


def test_map_channels_of_the_full_model():
    assert map_channels(UNetConfig()) == [320] * 4 + [640] * 3 + [1280] * 5


def test_a_fresh_controlnet_is_silent_and_hints_are_hint_major(controlnet, inputs, contexts):
    fresh = ControlNet(CONTROLNET)
    context = fresh.prepare_context(contexts[:1])
    assert not any(m.any() for m in fresh(*inputs, torch.randn(LATENTS), context))
    hints = torch.randn(4, 4, 8, 12)
    context = controlnet.prepare_context(contexts[:1])
    both = controlnet(*inputs, hints, context)
    for index, hint in enumerate(hints.chunk(2)):
        single = controlnet(*inputs, hint, context)
        for joint, alone in zip(both, single, strict=True):
            assert_near(joint.chunk(2)[index], alone)


def test_a_controlnet_starts_as_the_unets_encoder(unet):
    controlnet = controlnet_from_unet(unet, replace(CONTROLNET, attention_factors=(2,)))
    ours, base = controlnet.state_dict(), unet.state_dict()
    assert torch.equal(
        ours["down_blocks.1.resnets.0.conv1.weight"], base["down_blocks.1.resnets.0.conv1.weight"]
    )
    shared = [name for name in ours if name in base]
    assert all(torch.equal(ours[name], base[name]) for name in shared)
    assert all(not ours[name].any() for name in ours if name not in base)


def test_one_timestep_serves_a_batch(unet, inputs, contexts):
    context = unet.prepare_context(contexts[:1])
    same = unet(inputs[0], torch.tensor([5, 5]), context)
    assert_near(unet(inputs[0], 5, context), same)
    assert_near(unet(inputs[0], torch.tensor(5), context), same)


def test_the_time_embedding_has_the_cosine_first():
    found = sinusoids(torch.tensor([7]), 32)
    frequencies = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(16) / 16)
    expected = torch.cat(((7 * frequencies).cos(), (7 * frequencies).sin()))[None]
    assert_near(found, expected)
    assert F.silu(found).shape == (1, 32)


def test_conditions_are_named_in_the_order_of_the_configuration():
    maps = tuple(torch.full((1,), float(i)) for i in range(4))
    controls = Controls(maps, conditions=(None, tuple(m + 10 for m in maps)))
    assert controls.at(2, ("edges", "depth")) == {"low_res": maps[2], "depth": torch.tensor([12.0])}


def test_weights_without_conditions_load_unchanged_and_give_the_same(
    unet, controlnet, inputs, contexts
):
    wider = UNet(replace(unet.config, conditions=("edges",)))
    missing, unknown = wider.load_state_dict(unet.state_dict(), strict=False)
    assert not unknown
    assert missing and all(is_condition_parameter(name, "edges") for name in missing)
    assert all(is_aia_parameter(name) for name in missing)
    controls = controls_of(controlnet, *inputs, contexts[0])
    expected = unet(*inputs, unet.prepare_context(contexts[:1]), controls)
    context = wider.prepare_context(contexts[:1])
    assert torch.equal(wider(*inputs, context, controls), expected)
    edges = replace(controls, conditions=(controls.low_res,))
    assert torch.equal(wider(*inputs, context, edges), expected)  # its projections are zero
    randomise(wider)
    assert not torch.allclose(wider(*inputs, context, edges), wider(*inputs, context, controls))


def test_without_norms_a_network_has_none_and_takes_any_scale(inputs, contexts):
    configs = replace(UNET, norm_num_groups=0), replace(CONTROLNET, norm_num_groups=0)
    unet, controlnet = (
        randomise(kind(c)) for kind, c in zip((UNet, ControlNet), configs, strict=True)
    )
    for network in (unet, controlnet):
        assert not any(isinstance(module, torch.nn.GroupNorm) for module in network.modules())
    initialise_aia_from_base(unet)
    controls = controls_of(controlnet, *inputs, contexts[0])
    context = unet.prepare_context(contexts[:1])
    assert unet(*inputs, context, controls).isfinite().all()
    assert set(controlnet_from_unet(unet, configs[1]).state_dict()) == set(controlnet.state_dict())


def test_direct_controls_reach_levels_without_attention() -> None:
    """A reference that is the low-resolution image adds nothing; another one does, once opened;
    a weight of 0 is no reference."""
    torch.manual_seed(0)
    config = replace(UNET, dense_blocks=1, direct_controls=True, attention_factors=(2,))
    unet = UNet(config).double().eval()
    latents = torch.randn(1, config.in_channels, 8, 8, dtype=torch.float64)
    context = unet.prepare_context([torch.randn(1, 3, config.context_dim, dtype=torch.float64)])
    channels = [*map_channels(config), config.block_out_channels[-1]]
    factors = [2 ** max(level, 0) for level, _ in map_places(config)]
    sides = [8 // factor for factor in [*factors, factors[-1]]]

    def maps() -> tuple[Tensor, ...]:
        return tuple(
            torch.randn(1, width, side, side, dtype=torch.float64)
            for width, side in zip(channels, sides, strict=True)
        )

    def result(reference: tuple[Tensor, ...] | None, weight: float = 1.0) -> Tensor:
        weights = torch.tensor([1.0, weight], dtype=torch.float64)
        return unet(latents, 10, context, Controls(low_res, reference, weights))

    low_res, other = maps(), maps()
    assert torch.equal(result(low_res), result(None))
    assert torch.equal(result(other), result(None))  # all new layers begin at zero
    for add in unet.reference_adds:
        if isinstance(add, torch.nn.Conv2d):
            torch.nn.init.dirac_(add.weight)
    assert_near(result(low_res), result(None))
    assert not torch.allclose(result(other), result(None))
    assert_near(result(other, 0.0), result(None))
