"""A one-step model that starts from Real-ESRGAN's weights instead of random ones.

Latents become the teacher's features of the low-resolution picture: the encoder takes the picture
back from its bicubic enlargement and applies the first convolution. The U-Net's finest level takes
blocks of the teacher's trunk, and the decoder its tail, of which the channels that matter most are
kept. All of this is exact but for what is left out.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.engine.preparation import enlarge_smoothly
from coser_cli.errors import UsageError
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.realesrgan import RRDBNet, load
from coser_cli.models.resnet import DenseResnetBlock
from coser_cli.models.unet import UNet
from coser_cli.models.unet_encoder import Level
from coser_cli.sampling.schedulers import alphas_cumprod
from coser_cli.size import Size
from coser_cli.training.pool import read_shard
from coser_cli.training.workspace import Workspace

SLOPE = 0.2
PLACES = 3
"""Blocks of the U-Net's finest level."""
SHOWN, SIDE = 6, 48
"""Pictures, and their sides in LR pixels, by which channels are weighed."""
IN_ORDER = (0, 22, 1, 21, 2, 3, 12, 17, 6, 16, 4, 10, 18, 15, 20, 13, 5, 19, 11, 14, 9, 8, 7)
"""Blocks of Real-ESRGAN x4plus, those first that matter most: of the sets of nine that were tried,
the first nine come nearest to its pictures; the others by what leaving out that one changes."""


def start_in(space: Workspace, networks: nn.ModuleDict) -> None:
    """The start of a workspace's one-step model, with pictures of its pool. Raises UsageError where
    the model has not the teacher's shape."""
    model = space.recipe.model
    assert model.one_step is not None
    if model.schedule.prediction_type != "epsilon":
        raise UsageError("teacher_start: the recipe's model does not predict noise (epsilon)")
    shard = read_shard(space.folder / "teacher" / "00000")["low"][:SHOWN, :, :SIDE, :SIDE]
    low = torch.from_numpy(shard.copy()).float() / 255
    cumulative = float(alphas_cumprod(model.schedule)[model.one_step.timestep])
    networks.cpu()
    start_from_teacher(networks, load(), low, math.sqrt(cumulative), math.sqrt(1 - cumulative))
    networks.to(space.device)


@torch.no_grad()
def start_from_teacher(
    networks: nn.ModuleDict, teacher: RRDBNet, low: Tensor, signal: float, sigma: float
) -> None:
    """Fill "vae", "unet" and "controlnet" in place.

    The tail's channels are weighed by LR pixels `low` `(N, 3, h, w)` in [0, 1]; `signal` and
    `sigma` are those of the one step's timestep, where the U-Net predicts ε.

    Raises:
        UsageError: the networks have not the teacher's shape.
    """
    vae, unet = networks["vae"], networks["unet"]
    assert isinstance(vae, Autoencoder) and isinstance(unet, UNet)
    _require_shape(vae, unet, teacher)
    encode = _conv(vae.encoder, "conv_in")
    cells = encode.in_channels // teacher.first.in_channels
    kernel = _reducing(low, cells)[None, None, :, None, None]
    reducing = (teacher.first.weight[:, :, None] * kernel).flatten(1, 2)
    _set(encode, reducing * signal, _bias(teacher.first) * signal)
    for network in (unet, networks["controlnet"]):
        enter = _conv(network, "conv_in")
        nn.init.zeros_(_bias(enter))
        nn.init.dirac_(enter.weight)
    unet.conv_in.weight /= signal
    _fill_trunk(unet, teacher)
    # ε of which x_0 = latents / signal + the teacher's change
    scale = -signal / sigma
    _set(unet.conv_out, teacher.after_body.weight * scale, _bias(teacher.after_body) * scale)
    _fill_tail(vae.decoder, teacher, low)


def _reducing(low: Tensor, cells: int) -> Tensor:
    """Weights of the pixels in a cell of the bicubic enlargement whose sum is the pixel of the
    picture `low`: by least squares."""
    factor = math.isqrt(cells)
    enlarged = enlarge_smoothly(low, Size.of(low).scaled(factor))
    inputs = F.pixel_unshuffle(enlarged[:, :1], factor).movedim(1, -1).reshape(-1, cells).double()
    targets = low[:, :1].reshape(-1, 1).double()
    return torch.linalg.lstsq(inputs, targets, driver="gelsd").solution[:, 0].float()


def _conv(network: nn.Module, name: str) -> nn.Conv2d:
    return cast("nn.Conv2d", network.get_submodule(name))


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _set(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    _bias(layer).copy_(bias)


def _require_shape(vae: Autoencoder, unet: UNet, teacher: RRDBNet) -> None:
    width = teacher.first.out_channels
    config, light = unet.config, vae.config.light
    widths = {vae.config.latent_channels, config.in_channels, config.block_out_channels[0]}
    fits = (
        light is not None
        and light.width <= width >= light.up_width
        and vae.config.patch_size == 4
        and widths == {width}
        and 0 < config.dense_blocks * PLACES <= len(teacher.body)
        and config.layers_per_block == 1
    )
    if not fits:
        raise UsageError(
            "teacher_start: the recipe's model cannot take the teacher's weights",
            f"it needs {width} latent channels, a light autoencoder and dense_blocks",
        )


def _fill_trunk(unet: UNet, teacher: RRDBNet) -> None:
    """The finest level's blocks: what is not the teacher's begins at zero or passes through."""
    count = unet.config.dense_blocks
    best = [index for index in IN_ORDER if index < len(teacher.body)][: PLACES * count]
    sources = iter(sorted(best))
    down, *up = (
        cast("DenseResnetBlock", block)
        for level in (unet.down_blocks[0], unet.up_blocks[-1])
        for block in cast("Level", level).resnets
    )
    for block in (down, *up):
        nn.init.zeros_(block.time_emb_proj.weight)
        nn.init.zeros_(block.time_emb_proj.bias)
        for dense, index in zip(block.blocks, sources, strict=False):
            dense.load_state_dict(teacher.body[index].state_dict())
    width = unet.conv_in.out_channels
    for block, kept in zip(up, (slice(-width, None), slice(width)), strict=True):
        shortcut = _conv(block, "conv_shortcut")
        _set(shortcut, torch.zeros_like(shortcut.weight), torch.zeros_like(_bias(shortcut)))
        nn.init.dirac_(shortcut.weight[:, kept])


def _fill_tail(decoder: nn.Module, teacher: RRDBNet, low: Tensor) -> None:
    """The convolutions behind the trunk; channels that are left out enter by their mean."""
    up1, up2 = (cast("nn.Conv2d", each) for each in teacher.enlarge)
    convolutions = [up1, up2, teacher.high, teacher.last]
    names = ("upconv1", "upconv2", "conv_hr", "conv_out")
    targets = [_conv(decoder, name) for name in names]
    maps = _tail_maps(teacher, low)
    kept = torch.arange(up1.in_channels)
    mean = torch.zeros(up1.in_channels)
    for index, (source, target) in enumerate(zip(convolutions, targets, strict=True)):
        outputs = torch.arange(source.out_channels)
        if index < len(maps):
            weight = convolutions[index + 1].weight.square().sum((0, 2, 3)).sqrt()
            matters = maps[index].std((0, 2, 3)) * weight
            outputs = matters.topk(target.out_channels).indices.sort().values
        left_out = torch.ones(source.in_channels, dtype=torch.bool)
        left_out[kept] = False
        constant = source.weight.sum((2, 3))[:, left_out] @ mean[left_out]
        _set(target, source.weight[outputs][:, kept], (_bias(source) + constant)[outputs])
        kept = outputs
        mean = maps[index].mean((0, 2, 3)) if index < len(maps) else mean


def _tail_maps(teacher: RRDBNet, low: Tensor) -> list[Tensor]:
    """What the teacher's last three convolutions see."""
    features = teacher.first(low)
    x = features + teacher.after_body(teacher.body(features))
    maps = []
    for layer in teacher.enlarge:
        x = F.leaky_relu(layer(F.interpolate(x, scale_factor=2.0, mode="nearest")), SLOPE)
        maps.append(x)
    return [*maps, F.leaky_relu(teacher.high(x), SLOPE)]
