"""Names and shapes against the published key lists, at full size on the meta device."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coser_cli.config import ModelConfig
from coser_cli.models.build import make_network
from coser_cli.weights.checkpoints.names import as_linear, published_name, translate

CONFIG = ModelConfig("sd21")


def published(which):
    keys = json.loads((Path(__file__).parents[2] / "parity" / f"keys_{which}.json").read_text())
    return {name: torch.empty(shape, device="meta") for name, shape in keys.items()}


def converted(kind, tensors, config=CONFIG):
    """Shapes by part and name."""
    parts = {}
    ours, unknown = translate(kind, tensors, config)
    assert unknown == frozenset()
    for key, names in ours.items():
        part, _, name = key.partition("/")
        found = torch.cat([tensors[old] for old in names]) if len(names) > 1 else tensors[names[0]]
        parts.setdefault(part, {})[name] = tuple(as_linear(name, found).shape)
    return parts


def ours(part, config=CONFIG):
    with torch.device("meta"):
        network = make_network(config, part)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def checkpoint():
    return published("full")


def test_the_lists_are_the_published_ones(checkpoint):
    assert (len(checkpoint), len(published("cfw"))) == (2578, 404)


def test_every_network_gets_exactly_its_names_and_shapes(checkpoint):
    found = converted("coser", checkpoint)
    parts = {"srresnet", "vae", "text", "cognitive_encoder", "unet", "controlnet"}
    assert found.keys() == parts
    for part in parts:
        assert found[part] == ours(part), part


def test_the_cfw_decoder_gets_exactly_its_names_and_shapes():
    assert converted("cfw", published("cfw")) == {"cfw": ours("cfw")}


def test_what_training_leaves_behind_is_dropped(checkpoint):
    keys = published("cfw") | {"loss.logvar": torch.empty(0)}
    assert converted("cfw", keys) == {"cfw": ours("cfw")}
    keys = checkpoint | {"model_ema.decay": torch.empty(()), "lvlb_weights": torch.empty(0)}
    assert converted("coser", keys) == converted("coser", checkpoint)


def test_what_is_dropped_is_what_no_network_runs(checkpoint):
    names, _ = translate("coser", checkpoint, CONFIG)
    named = {
        "schedule": 12,  # buffers of the diffusion schedule
        "norm5_lna": 2 * 10,
        "proj_in_cref_lna": 2 * 10,
        "Q-Former's text half": 2 + 1 + 12 * (2 + 4),
        "CLIP": 2 + 1 + 1 + 12,  # ln_post, text projection, logit scale, last text block
    }
    assert len(names) + sum(named.values()) == len(checkpoint)


def test_published_names_lead_back(checkpoint):
    names, _ = translate("coser", checkpoint, CONFIG)
    for key, (name,) in list(names.items())[::40]:
        assert published_name("coser", key, CONFIG) == name


def test_the_reference_projection_is_used_where_the_config_asks_for_it(checkpoint):
    config = replace(CONFIG, unet=replace(CONFIG.unet, project_reference=True))
    assert converted("coser", checkpoint, config)["unet"] == ours("unet", config)


@pytest.mark.parametrize(
    "name",
    ["nobody.knows.this", "model.diffusion_model.input_blocks.1.0.extra.weight", "betas2"],
)
def test_a_name_that_belongs_nowhere_is_named(checkpoint, name):
    names, unknown = translate("coser", checkpoint | {name: torch.empty(0)}, CONFIG)
    assert unknown == {name}
    assert names == translate("coser", checkpoint, CONFIG)[0]


def single_file(checkpoint):
    """Stable Diffusion 2 in one file: what CoSeR's checkpoint adds taken away."""
    kept = ("model.", "first_stage_model.", "cond_stage_model.")
    return {
        name: tensor
        for name, tensor in checkpoint.items()
        if name.startswith(kept) and "_lna" not in name and ".visual." not in name
    }


def test_a_single_file_of_stable_diffusion(checkpoint):
    found = converted("sd2", single_file(checkpoint))
    assert found.keys() == {"unet", "vae", "text"}
    assert (found["vae"], found["text"]) == (ours("vae"), ours("text"))
    assert found["unet"].items() < ours("unet").items()


def test_the_text_tower_in_the_newer_layout(checkpoint):
    old, new = "cond_stage_model.model.", "conditioner.embedders.0.model."
    keys = {name.replace(old, new): t for name, t in single_file(checkpoint).items()}
    assert converted("sd2", keys)["text"] == ours("text")


def test_open_clip_by_itself(checkpoint):
    prefix = "cond_stage_model.model."
    keys = {n.removeprefix(prefix): t for n, t in checkpoint.items() if n.startswith(prefix)}
    found = converted("openclip", keys)
    assert found["text"] == ours("text")
    image = {f for f in ours("cognitive_encoder") if f.startswith("clip.")}
    assert found["cognitive_encoder"].keys() == image
    missing = published_name("openclip", "text/tower.ln_final.bias", CONFIG)
    assert missing == "ln_final.bias"


def test_the_q_former_by_itself(checkpoint):
    prefix = "global_adapter."
    keys = {n.removeprefix(prefix): t for n, t in checkpoint.items() if n.startswith(prefix)}
    found = converted("qformer", keys)["cognitive_encoder"]
    assert found == {k: v for k, v in ours("cognitive_encoder").items() if k.startswith("qformer.")}
