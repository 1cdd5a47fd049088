"""A whole model at toy size with synthetic weights, and a picture on its way through it."""

from dataclasses import replace

import pytest
import torch

from coser_cli.bench.speed import picture
from coser_cli.bench.stages import PictureRun
from coser_cli.bench.synthetic import synthetic_model
from coser_cli.config import Defaults
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.upscaler import Upscaler
from coser_cli.models.residency import Placement
from coser_cli.settings import Settings
from tests import toy

TOY = replace(toy.TOY, defaults=Defaults(steps=3, sampler="ddim"))
CPU = torch.device("cpu")


def make_upscaler(dtype=torch.float32, seed=0):
    """The toy on the CPU."""
    return Upscaler(Runtime(synthetic_model(TOY, Placement(CPU, dtype), seed), CPU, dtype))


@pytest.fixture(scope="session")
def upscaler():
    return make_upscaler()


@pytest.fixture(scope="session")
def picture_run(upscaler):
    """8 × 8 pixels, enlarged to 32 × 32: 16 × 16 latents."""
    run = PictureRun(upscaler, picture(8, 0), Settings(guidance_scale=3.0))
    for stage in run.stages().values():
        stage(lambda *_: None)
    return run
