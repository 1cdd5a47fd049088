"""A toy model on disk and a set of two tiny pairs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.config import Defaults
from coser_cli.engine.upscaler import Upscaler
from coser_cli.models.build import make_network
from coser_cli.models.text import SentenceText
from coser_cli.weights.load import save_component, save_text_states
from coser_cli.weights.store import save_model_config
from tests import toy

PARTS = ("srresnet", "vae", "cfw", "unet", "controlnet", "cognitive_encoder")
TOY = replace(toy.TOY, low_res_source="srresnet", defaults=Defaults(steps=2, strength=0.5))


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The toy's folder; no weight is zero, so that every part has its say."""
    folder = tmp_path_factory.mktemp("weights") / "toy"
    save_model_config(TOY, folder)
    generator = torch.Generator().manual_seed(0)
    for part in PARTS:
        network = make_network(TOY, part)
        for parameter in network.parameters():
            spread = 0.3 if parameter.dim() < 2 else parameter[0].numel() ** -0.5
            torch.nn.init.normal_(parameter, std=spread, generator=generator)
        save_component(network, folder / part)
    prompts = ("", TOY.defaults.negative_prompt)
    states = {prompt: torch.randn(5, 16, generator=generator) for prompt in prompts}
    save_text_states(SentenceText(TOY.text, states), folder / "text")
    return folder


@pytest.fixture(scope="session")
def upscaler(model):
    return Upscaler.from_pretrained(model, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Two LR pictures and their HR: one exactly four times as large, one with a side to spare."""
    root = tmp_path_factory.mktemp("sets") / "pair"
    rng = np.random.default_rng(0)
    for name, low, high in (("a", (8, 6), (32, 24)), ("b", (9, 7), (38, 28))):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        for folder, size in (("LRx4", low), ("HR", high)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            picture = coarse.resize(size, Image.Resampling.BICUBIC)
            picture.save(root / folder / f"{name}.png")
    (root / "HR" / "notes.txt").write_text("not a picture")
    return root
