"""A few generated photos with captions, a recipe at toy size, and one run of all its stages."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.config import (
    AutoencoderConfig,
    CFWConfig,
    ClipVisionConfig,
    ControlNetConfig,
    Defaults,
    ModelConfig,
    QFormerConfig,
    SentenceTextConfig,
    SRResNetConfig,
    UNetConfig,
)
from coser_cli.training.stages import STAGES, Workspace, read_recipe
from coser_cli.weights.store import save_model_config

AUTOENCODER = AutoencoderConfig(
    patch_size=2,
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=0,
    mid_block_attention=False,
    scaling_factor=1.0,
)
DENOISER = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "attention_factors": (2,),
    "head_dim": 8,
    "context_dim": 384,
    "norm_num_groups": 4,
}
TOY = ModelConfig(
    name="toy",
    srresnet=SRResNetConfig(num_feat=8, num_block=1),
    clip_vision=ClipVisionConfig(32, 16, 16, layers=1, heads=2, output_dim=16),
    text=SentenceTextConfig(context_length=8),
    qformer=QFormerConfig(4, 384, 1, num_heads=2, intermediate_size=16, encoder_width=16),
    autoencoder=AUTOENCODER,
    cfw=CFWConfig(AUTOENCODER, (1, 0), num_fuse_blocks=1, growth_channels=4, own_encoder=False),
    unet=UNetConfig(**DENOISER),
    controlnet=ControlNetConfig(**DENOISER),
    low_res_source="srresnet",
    defaults=Defaults(steps=2),
)
PIXELS = "steps = 2\nbatch = 2\ncrop = 32\nlearning_rate = 1e-3\n"
LATENTS = PIXELS.replace("32", "8")
RECIPE = f"""
model = "toy"
[pool]
crops = 6
size = 64
[srresnet]
{PIXELS}
[sharpen]
{PIXELS}
weights = {{ perceptual = 0.3, adversarial = 0.02 }}
[autoencoder]
{PIXELS}
weights = {{ gradient = 0.5, kl = 1e-4 }}
[cognition]
{PIXELS}
[unet]
{LATENTS}
rows = 6
[restoration]
{LATENTS}
rows = 6
depth = 2.0
[cfw]
{PIXELS}
weights = {{ gradient = 0.5 }}
"""


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def smooth(rng, height, width):
    """A picture of soft coloured spots, `(H, W, 3)` uint8."""
    coarse = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


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


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    """The toy's recipe, with the toy's model.json beside it."""
    folder = tmp_path_factory.mktemp("recipe")
    save_model_config(TOY, folder / "toy")
    (folder / "toy.toml").write_text(RECIPE)
    return folder / "toy.toml"


@pytest.fixture(scope="session")
def trained(photos, recipe, tmp_path_factory):
    """A workspace in which every stage has run, two steps each."""
    space = Workspace(read_recipe(recipe), photos, tmp_path_factory.mktemp("work"))
    for stage in STAGES.values():  # in the order that the help gives
        stage(replace(space))
    return space
