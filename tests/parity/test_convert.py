"""The converter against the published key lists, at full size on the meta device."""

import json
from pathlib import Path

import pytest
import torch

from coser_cli.errors import WeightsError
from coser_cli.models.build import make_network
from coser_cli.models.config import ModelConfig
from coser_cli.weights.convert import convert_cfw, convert_checkpoint, split_checkpoint

CONFIG = ModelConfig("sd21")


def published(which):
    keys = json.loads((Path(__file__).parent / f"keys_{which}.json").read_text())
    return {name: torch.empty(shape, device="meta") for name, shape in keys.items()}


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def ours(part):
    with torch.device("meta"):
        return shapes(make_network(CONFIG, part).state_dict())


@pytest.fixture(scope="module")
def checkpoint():
    return published("full")


def test_the_lists_are_the_published_ones(checkpoint):
    assert (len(checkpoint), len(published("cfw"))) == (2578, 404)


def test_every_network_gets_exactly_its_names_and_shapes(checkpoint):
    converted = convert_checkpoint(checkpoint, CONFIG)
    parts = {"srresnet", "vae", "text", "cognitive_encoder", "unet", "controlnet"}
    assert converted.keys() == parts
    for part in parts:
        assert shapes(converted[part]) == ours(part), part


def test_the_cfw_decoder_gets_exactly_its_names_and_shapes():
    assert shapes(convert_cfw(published("cfw"), CONFIG.cfw)) == ours("cfw")


def test_a_saved_cfw_loss_is_dropped():
    keys = published("cfw") | {"loss.logvar": torch.empty(0)}
    assert shapes(convert_cfw(keys, CONFIG.cfw)) == ours("cfw")


def test_what_is_dropped_is_what_no_network_runs(checkpoint):
    converted = convert_checkpoint(checkpoint, CONFIG)
    used = sum(len(tensors) for tensors in converted.values())
    named = {
        "schedule": 12,  # buffers of the diffusion schedule
        "norm5_lna": 2 * 10,
        "proj_in_cref_lna": 2 * 10,
        "Q-Former's text half": 2 + 1 + 12 * (2 + 4),
        "CLIP": 2 + 1 + 1 + 12,  # ln_post, text projection, logit scale, last text block
    }
    assert used + sum(named.values()) == len(checkpoint)


def test_the_reference_projection_is_used_where_the_config_asks_for_it(checkpoint):
    from dataclasses import replace

    config = replace(CONFIG, unet=replace(CONFIG.unet, project_reference=True))
    unet = convert_checkpoint(checkpoint, config)["unet"]
    with torch.device("meta"):
        assert shapes(unet) == shapes(make_network(config, "unet").state_dict())


@pytest.mark.parametrize(
    "name",
    ["nobody.knows.this", "model.diffusion_model.input_blocks.1.0.extra.weight", "betas2"],
)
def test_a_name_that_belongs_nowhere_is_named(checkpoint, name):
    with pytest.raises(WeightsError, match=name.split(".")[-2] if "." in name else name):
        convert_checkpoint(checkpoint | {name: torch.empty(0)}, CONFIG)


def test_splitting_keeps_the_parts_apart(checkpoint):
    parts = split_checkpoint(checkpoint)
    assert len(parts["unet"]) + len(parts["controlnet"]) + len(parts["vae"]) == sum(
        name.startswith(("model.", "structcond", "first_stage")) for name in checkpoint
    )
