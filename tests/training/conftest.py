"""A few generated pictures in classes, and two toy models: one like `sd21`, one like `mini`."""

import csv
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.config import (
    AutoencoderConfig,
    ClipTextConfig,
    ClipVisionConfig,
    ControlNetConfig,
    Defaults,
    ModelConfig,
    OneStep,
    QFormerConfig,
    SentenceTextConfig,
    SRResNetConfig,
    UNetConfig,
)
from coser_cli.models.build import make_network
from coser_cli.training.recipe import read_recipe
from coser_cli.training.workspace import Workspace
from coser_cli.weights.load import save_component
from coser_cli.weights.store import save_model_config
from tests.toy import LIGHT_AUTOENCODER

DENOISER = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "attention_factors": (1, 2),
    "head_dim": 8,
    "context_dim": 16,
    "norm_num_groups": 4,
}
LIKE_SD21 = ModelConfig(
    name="toy",
    srresnet=SRResNetConfig(num_feat=8, num_block=1),
    clip_vision=ClipVisionConfig(32, 16, 16, layers=1, heads=2, output_dim=16),
    text=ClipTextConfig(width=16, heads=2, layers=2),
    qformer=QFormerConfig(4, 16, 2, num_heads=2, intermediate_size=16, encoder_width=16),
    autoencoder=AutoencoderConfig(
        block_out_channels=(8, 8, 16), layers_per_block=1, norm_num_groups=4
    ),
    unet=UNetConfig(**DENOISER),
    controlnet=ControlNetConfig(**DENOISER),
    defaults=Defaults(steps=2),
)
MINI_DENOISER = {**DENOISER, "in_channels": 6, "context_dim": 384, "norm_num_groups": 0}
LIKE_MINI = ModelConfig(
    name="toy",
    srresnet=SRResNetConfig(num_feat=8, num_block=1, upsampling="nearest", up_feat=8),
    clip_vision=ClipVisionConfig(32, 16, 16, layers=1, heads=2, output_dim=16),
    text=SentenceTextConfig(context_length=8),
    qformer=QFormerConfig(4, 384, 1, num_heads=2, intermediate_size=16, encoder_width=16),
    autoencoder=LIGHT_AUTOENCODER,
    cfw=None,
    unet=UNetConfig(**MINI_DENOISER, out_channels=6),
    controlnet=ControlNetConfig(**MINI_DENOISER),
    low_res_source="srresnet",
    one_step=OneStep(100),
    defaults=Defaults(strength=1.0, reference_mode="none"),
)
MINI_RECIPE = """
model = "toy-mini"
[data]
held_out = 0
[pool]
shards = 2
shard = 2
size = 48
teacher = "realesrgan-x4plus"
[srresnet]
steps = 2
batch = 2
crop = 32
weights = { teacher = 0.7, truth = 0.3, border = 4 }
samples_every = 2
held_out_every = 2
[cognition]
steps = 2
batch = 2
crop = 32
train_clip = true
train_srresnet = false
[one_step]
steps = 2
batch = 2
crop = 32
embedding = false
plain = { weight = 0.25, every = 2 }
[[one_step.phase]]
name = "l1"
weights = { teacher = 0.8, truth = 0.2 }
[[one_step.phase]]
name = "critic"
weights = { teacher = 0.6, perceptual = 0.3, adversarial = 0.02 }
"""
SD21_RECIPE = """
model = "toy"
start = "base"
[data]
degradation = "degradation.toml"
held_out = 0
[cognition]
steps = 3
batch = 4
crop = 32
restart = true
mixed_precision = "no"
samples_every = 2
log_every = 1
[restoration]
steps = 3
batch = 4
crop = 32
restart = true
mixed_precision = "no"
log_every = 1
checkpoint_every = 1
[condition]
steps = 2
batch = 4
crop = 32
mixed_precision = "no"
"""
DEGRADATION = "bicubic = 1\nblur_only = 0\n"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def smooth(rng, height, width):
    """A picture of soft coloured spots."""
    coarse = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_classes(root, count=4, classes=("owl", "red_boat"), size=(40, 48)):
    """Folders of classes, as ImageNet has them."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            smooth(rng, *size).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def classes(tmp_path_factory):
    """Two classes of four pictures."""
    return write_classes(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder with captions.tsv and four photos, one of them smaller than a crop."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    sizes = {"open/a": (90, 80), "open/b": (70, 100), "own/c": (64, 64), "own/d": (40, 50)}
    captions = ["a red cat on a sofa", "owl", "two boats in the harbour", "street"]
    with (root / "captions.tsv").open("w", newline="") as table:
        rows = csv.writer(table, delimiter="\t")
        rows.writerow(["file", "label_or_caption"])
        for (name, size), caption in zip(sizes.items(), captions, strict=True):
            (root / name).parent.mkdir(exist_ok=True)
            smooth(rng, *size).save(root / f"{name}.png")
            rows.writerow([f"{name}.png", caption])
    return root


def write_base(folder, model=LIKE_SD21):
    """Weights to start from, random: the base's U-Net without All-in-Attention, among them."""
    torch.manual_seed(5)
    save_model_config(model, folder)
    for part in ("text", "vae", "cognitive_encoder", "unet"):
        save_component(make_network(model, part), folder / part, torch.float32)


@pytest.fixture(scope="session")
def recipes(tmp_path_factory):
    """A folder with the toy's model.json, weights to start from, and its recipe."""
    folder = tmp_path_factory.mktemp("recipe")
    save_model_config(LIKE_SD21, folder / "toy")
    write_base(folder / "base")
    (folder / "sd21.toml").write_text(SD21_RECIPE)
    (folder / "degradation.toml").write_text(DEGRADATION)
    save_model_config(LIKE_MINI, folder / "toy-mini")
    (folder / "mini.toml").write_text(MINI_RECIPE)
    return folder


@pytest.fixture
def space(recipes, classes, tmp_path):
    """A fresh workspace of the toy like `sd21`."""
    return Workspace(read_recipe(recipes / "sd21.toml"), classes, tmp_path / "work")


def toy_environment():
    """For processes of their own: one thread each."""
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def with_overrides(space, **overrides):
    """The same workspace with other numbers."""
    return replace(space, overrides={**space.overrides, **overrides})
