"""A whole model at toy size with synthetic weights, and a picture on its way through it."""

import pytest
import torch

from coser_cli.bench.gains import RestorationStep
from coser_cli.bench.speed import picture
from coser_cli.bench.stages import Walkthrough
from coser_cli.bench.synthetic import synthetic_model
from coser_cli.engine.upscaler import Upscaler
from coser_cli.models.config import (
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
from coser_cli.models.residency import Placement
from coser_cli.settings import Settings

DENOISER = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "attention_factors": (1, 2),
    "head_dim": 8,
    "context_dim": 16,
    "norm_num_groups": 8,
}
AUTOENCODER = AutoencoderConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
TOY = ModelConfig(
    name="toy",
    srresnet=SRResNetConfig(num_feat=8, num_block=1),
    clip_vision=ClipVisionConfig(32, 16, 32, layers=1, heads=2, output_dim=16),
    text=SentenceTextConfig(context_length=5, width=16),
    qformer=QFormerConfig(4, 16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16),
    autoencoder=AUTOENCODER,
    cfw=CFWConfig(AUTOENCODER, fuse_levels=(1,), num_fuse_blocks=1, growth_channels=4),
    unet=UNetConfig(**DENOISER),
    controlnet=ControlNetConfig(**DENOISER),
    defaults=Defaults(steps=3, sampler="ddim"),
)
CPU = torch.device("cpu")


def make_upscaler(dtype=torch.float32, seed=0):
    """The toy on the CPU."""
    return Upscaler(synthetic_model(TOY, Placement(CPU, dtype), seed), CPU, dtype)


@pytest.fixture(scope="session")
def upscaler():
    return make_upscaler()


@pytest.fixture(scope="session")
def walkthrough(upscaler):
    """8 × 8 pixels, enlarged to 32 × 32: 16 × 16 latents."""
    walk = Walkthrough(upscaler, picture(8, 0), Settings(guidance_scale=3.0))
    for run in walk.stages().values():
        run(lambda *_: None)
    return walk


@pytest.fixture(scope="session")
def step(upscaler, walkthrough):
    hints = walkthrough.low_res.latents, walkthrough.reference
    return RestorationStep(upscaler, walkthrough.settings, walkthrough.cognition, *hints)
