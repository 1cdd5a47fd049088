"""A one-step model that starts from a teacher's weights computes what the teacher does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coser_cli.config import LightAutoencoderConfig
from coser_cli.engine.preparation import enlarge_smoothly
from coser_cli.errors import UsageError
from coser_cli.models.build import make_network
from coser_cli.models.realesrgan import RRDBNet
from coser_cli.models.resnet import DenseResnetBlock
from coser_cli.size import Size
from coser_cli.training.teacher_start import start_from_teacher

from .conftest import LIKE_MINI

WIDTH, SIGNAL, SIGMA = 8, 0.96, 0.28


def model(up_width=WIDTH, dense_blocks=1):
    light = LightAutoencoderConfig(WIDTH, up_width)
    return replace(
        LIKE_MINI,
        autoencoder=replace(LIKE_MINI.autoencoder, latent_channels=WIDTH, light=light),
        unet=replace(LIKE_MINI.unet, in_channels=WIDTH, out_channels=WIDTH,
                     attention_factors=(2,), dense_blocks=dense_blocks, direct_controls=True),
        controlnet=replace(LIKE_MINI.controlnet, in_channels=WIDTH, attention_factors=(2,)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(3)
    return RRDBNet(3, WIDTH, DenseResnetBlock.GROWTH).eval().requires_grad_(False)


@pytest.fixture
def low():
    """Smooth pictures, which come back from their enlargement."""
    coarse = torch.from_numpy(np.random.default_rng(0).random((2, 3, 4, 5), np.float32))
    return F.interpolate(coarse, (12, 16), mode="bicubic", antialias=True).clamp(0, 1)


def started(config, teacher, low):
    networks = nn.ModuleDict({p: make_network(config, p) for p in ("vae", "unet", "controlnet")})
    start_from_teacher(networks.eval().requires_grad_(False), teacher, low, SIGNAL, SIGMA)
    return networks


def restored(networks, low):
    """One step without controls, of the picture's bicubic enlargement."""
    vae, unet = networks["vae"], networks["unet"]
    latents = vae.encode(enlarge_smoothly(low, Size(48, 64)))
    context = unet.prepare_context([torch.zeros(len(low), 4, 384)])
    noise = unet(latents, torch.tensor([100]), context, None)
    return vae.decode((latents - SIGMA * noise) / SIGNAL)


def test_a_start_is_the_teacher(teacher, low):
    """A trunk of three blocks fits whole, so all of the teacher is there."""
    change = restored(started(model(), teacher, low), low) - teacher(low)
    assert change.abs().max() < 0.02 * teacher(low).std()


def test_a_narrower_tail_keeps_what_matters(teacher, low):
    """Channels that are constant can be left out without a loss."""
    for layer in (teacher.enlarge[1], teacher.high):
        layer.weight[5:] = 0
    whole, narrow = (restored(started(model(width), teacher, low), low) for width in (WIDTH, 5))
    inside = (..., slice(8, -8), slice(8, -8))  # outside of the picture is 0, not the mean
    torch.testing.assert_close(narrow[inside], whole[inside])


@pytest.mark.parametrize("config", [LIKE_MINI, model(dense_blocks=0), model(up_width=9)])
def test_a_model_of_another_shape_is_refused(config, teacher, low):
    with pytest.raises(UsageError, match="cannot take the teacher's weights"):
        started(config, teacher, low)
