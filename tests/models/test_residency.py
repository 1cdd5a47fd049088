"""Layers that hold weights only while they run; parts read without a second copy."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from coser_cli.config import ModelConfig
from coser_cli.models.build import make_network
from coser_cli.models.clip import ClipText
from coser_cli.models.residency import STREAMED, Placement, stream
from coser_cli.weights import store
from coser_cli.weights.load import load_model, save_component

from .conftest import (
    AUTOENCODER,
    CLIP_TEXT,
    CLIP_VISION,
    CONTROLNET,
    QFORMER,
    UNET,
    assert_near,
    randomise,
)

CONFIG = ModelConfig(
    "toy",
    clip_vision=CLIP_VISION,
    text=CLIP_TEXT,
    qformer=QFORMER,
    autoencoder=AUTOENCODER,
    unet=UNET,
    controlnet=CONTROLNET,
)
PARTS = ("vae", "text", "cognitive_encoder", "unet", "controlnet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    store.save_model_config(CONFIG, folder)
    for part in PARTS:
        save_component(randomise(make_network(CONFIG, part)), folder / part, torch.float32)
    return folder


def streamed(part):
    """A network whose layers stream, the same with all of its weights, and what was asked for."""
    whole = randomise(make_network(CONFIG, part))
    state, asked = {n: t.clone() for n, t in whole.state_dict().items()}, []

    def source(names):
        asked.append(list(names))
        return {name: state[name] for name in names}

    network = make_network(CONFIG, part).eval().requires_grad_(False)
    network.load_state_dict(state)
    stream(network, source, Placement().fit)
    return network, whole, asked


def run(network, part):
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    if part == "text":
        return network.encode_tokens(torch.tensor([[1, 5, 7, 99]]))
    if part == "vae":
        return network.decode(network.encode(pixels))
    if part == "cognitive_encoder":
        return network(pixels)
    latents = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    context = network.prepare_context([torch.ones(1, 5, 24)])
    if part == "controlnet":
        return network(latents, 10, latents, context)[-1]
    return network(latents, 10, context)


def layers_of(network):
    return [m for m in network.modules() if isinstance(m, STREAMED) and m.state_dict()]


@pytest.mark.parametrize("part", PARTS)
@torch.inference_mode()
def test_streamed_networks_compute_the_same(part):
    network, whole, asked = streamed(part)
    assert asked == []
    assert_near(run(network, part), run(whole, part))
    assert asked


@pytest.mark.parametrize("part", PARTS)
@torch.inference_mode()
def test_one_layer_at_a_time_holds_weights(part):
    network, _, asked = streamed(part)
    layers, most = layers_of(network), 0

    def count(layer, args, output):
        nonlocal most
        held = [m for m in layers if any(not p.is_meta for p in m.parameters(recurse=False))]
        roots = [m for m in held if not any(m in set(o.modules()) - {o} for o in held)]
        most = max(most, len(roots))

    for layer in layers:
        layer.register_forward_hook(count, prepend=True)
    for _ in range(2):
        run(network, part)
        assert all(p.is_meta for layer in layers for p in layer.parameters())
    assert most == 1
    first, second = asked[: len(asked) // 2], asked[len(asked) // 2 :]
    assert first == second


@pytest.mark.parametrize("part", PARTS)
def test_what_stays_is_small(part):
    network, whole, _ = streamed(part)
    stays = sum(p.numel() for p in network.parameters() if not p.is_meta)
    assert stays <= 0.15 * sum(p.numel() for p in whole.parameters())


@torch.inference_mode()
def test_a_layer_that_fails_lets_its_weights_go():
    layer = nn.Sequential(nn.Linear(4, 4))
    state = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    stream(layer, lambda names: {name: state[name] for name in names}, Placement().fit)
    with pytest.raises(RuntimeError):
        layer(torch.ones(1, 5))
    assert layer[0].weight.is_meta
    assert torch.equal(
        layer(torch.ones(1, 4)),
        nn.functional.linear(torch.ones(1, 4), state["0.weight"], state["0.bias"]),
    )


def test_clip_text_can_be_streamed_from_its_file(folder):
    model = load_model(folder, offload="sequential")
    assert isinstance(model.text, ClipText)
    with torch.inference_mode():
        tokens = torch.tensor([[1, 5, 7, 99]])
        assert_near(model.text.encode_tokens(tokens), load_model(folder).text.encode_tokens(tokens))


def test_convolutions_are_channels_last_in_every_mode(folder):
    found = []
    for offload in ("none", "model", "sequential"):
        unet = load_model(folder, offload=offload).unet
        unet.conv_in.register_forward_hook(
            lambda m, *_: found.append(m.weight.is_contiguous(memory_format=torch.channels_last)),
            prepend=True,
        )
        with torch.inference_mode():
            run(unet, "unet")
    assert found == [True] * 3


def test_what_needs_no_change_is_not_copied(tmp_path):
    state = {"linear": torch.rand(8, 8), "conv": torch.rand(8, 4, 3, 3), "ids": torch.arange(3)}
    save_file(state, _file(tmp_path))
    same = store.convert_part(tmp_path, "part", lambda tensor: tensor)
    fitted = store.convert_part(tmp_path, "part", Placement().fit)
    assert all(torch.equal(state[name], fitted[name]) for name in state)
    assert fitted["conv"].is_contiguous(memory_format=torch.channels_last)
    assert fitted["linear"].is_contiguous()
    half = store.convert_part(tmp_path, "part", Placement(dtype=torch.bfloat16).fit)
    assert half["conv"].dtype == torch.bfloat16
    assert half["ids"].dtype == torch.int64
    assert same.keys() == half.keys()


def _file(folder: Path) -> Path:
    (folder / "part").mkdir(exist_ok=True)
    return folder / "part" / store.WEIGHTS_FILE


GROWTH = """
import json, sys, torch
from pathlib import Path
from coser_cli.models.residency import Placement
from coser_cli.weights import store

def resident():
    rows = dict(line.split(":") for line in open("/proc/self/status"))
    return {name: int(rows[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile", "VmHWM")}

store.convert_part(Path(sys.argv[1]), "small", Placement().fit)  # what is imported counts before
before = resident()
fit = Placement(dtype=getattr(torch, sys.argv[2])).fit
state = store.convert_part(Path(sys.argv[1]), "part", fit)
after = resident()
print(json.dumps({name: after[name] - before[name] for name in before}))
"""
MB = 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_loading_makes_no_second_copy(tmp_path):
    """A part of 200 MB in float32: read as it is stored, with convolutions, and as bfloat16."""
    names = [f"w{index}" for index in range(50)]
    (tmp_path / "small").mkdir()
    save_file({"w": torch.zeros(8)}, tmp_path / "small" / store.WEIGHTS_FILE)
    save_file({name: torch.rand(1000, 1000) for name in names}, _file(tmp_path))
    grown = partial(_growth, tmp_path)
    mapped = grown("float32")
    assert mapped["RssAnon"] < 10 * MB
    converted = grown("bfloat16")
    assert 90 * MB < converted["RssAnon"] < 120 * MB
    # the result, and never more of what was read than is converted at once
    assert converted["VmHWM"] < 120 * MB + store.READ_AT_ONCE
    save_file({name: torch.rand(500, 500, 2, 2) for name in names}, _file(tmp_path))
    ordered = grown("float32")
    assert ordered["VmHWM"] < 220 * MB + store.READ_AT_ONCE


def _growth(folder, dtype):
    command = [sys.executable, "-c", GROWTH, str(folder), dtype]
    return json.loads(subprocess.check_output(command, text=True))
