"""The low-resolution picture enlarged, padded and encoded: what every later stage starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.engine.compute.retry import require_finite
from coser_cli.errors import InputError
from coser_cli.size import Size, size_to_work_at, srresnet_passes, working_scale

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.srresnet import Enlarger

Encode = Callable[[], tuple[Tensor, tuple[Tensor, ...] | None]]
"""Latents of a picture, and features of the VAE's encoder, where its CFW decoder feeds on them."""


@dataclass(frozen=True)
class LowRes:
    """The input before anything is imagined.

    `pixels` `(B, 3, H, W)`: the input. `padded`: its enlargement, padded right and bottom to
    `pixel_multiple`; only `size` of it is picture. `target`: size of the result, which may be
    smaller. `encode` makes `latents` `(B, 4, h, w)` and `features` of `padded`, or of the bicubic
    enlargement (`ModelConfig.latents_of`), when first used.
    `pre_restored` `(B, 3, 4H, 4W)`, not clamped: the SRResNet's result, where the enlargement is
    made of it (in the scale of the network that replaces it). `mask` `(1, 1, h, w)` of any size:
    see `mask.py`. `conditions`: latents `(B, 4, h, w)` of the pictures of further conditions, by
    name.
    """

    pixels: Tensor
    padded: Tensor
    size: Size
    target: Size
    encode: Encode
    pre_restored: Tensor | None = None
    mask: Tensor | None = None
    conditions: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def latents(self) -> Tensor:
        """Of the padded enlargement, `(B, 4, h, w)`."""
        return self.encode()[0]

    @property
    def features(self) -> tuple[Tensor, ...] | None:
        """The VAE encoder's, where its CFW decoder feeds on them."""
        return self.encode()[1]

    @property
    def enlarged(self) -> Tensor:
        """The enlarged input alone, `(B, 3, *size.hw)` in [0, 1]."""
        return self.padded[..., : self.size.height, : self.size.width]

    @property
    def colors(self) -> Tensor:
        """The source of a colour fix, `(B, 3, *size.hw)`: the bicubic enlargement, also where a
        network made the enlargement.
        """
        if self.pre_restored is None:
            return self.enlarged.float()
        return enlarge_smoothly(self.pixels, self.size)


def require_picture(pixels: Tensor) -> None:
    """Raise `InputError` unless it is RGB pictures of at least one pixel, float in [0, 1]."""
    if pixels.dim() != 4 or pixels.shape[1] != 3 or 0 in pixels.shape:
        raise InputError(
            f"pixels have the shape {tuple(pixels.shape)}", "give (B, 3, H, W), RGB in [0, 1]"
        )
    if not pixels.is_floating_point():
        raise InputError(f"pixels are {pixels.dtype}", "give floating point numbers in [0, 1]")
    low, high = pixels.min().item(), pixels.max().item()
    if not (low >= 0 and high <= 1):
        raise InputError(f"pixels range from {low:g} to {high:g}", "give numbers in [0, 1]")


def prepare(model: CoSeR, pixels: Tensor, scale: float) -> LowRes:
    """Enlarge pixels `(B, 3, H, W)` in [0, 1] by `scale`, or to the model's working size, and pad;
    encoding waits until it is needed.
    """
    target = Size.of(pixels).scaled(scale)
    size = size_to_work_at(model.config, Size.of(pixels), scale)
    scale = working_scale(target, size, scale)
    pre_restored = None
    if model.config.low_res_source == "srresnet":
        pre_restored = model.srresnet(pixels)
        enlarged = enlarge_srresnet(model.srresnet, pre_restored, scale, size)
    else:
        enlarged = enlarge_bicubic(pixels, size)
    padded = pad_to_multiple(enlarged, model.config.pixel_multiple)
    encode = cache(partial(_encode, model, padded))
    if model.config.latents_of == "bicubic":
        encode = cache(partial(_encode_smooth, model, pixels, size))
    return LowRes(pixels, padded, size, target, encode, pre_restored)


def known(latents: Tensor) -> Encode:
    """Of existing latents, without features."""
    return lambda: (latents, None)


@torch.inference_mode()
def _encode(model: CoSeR, padded: Tensor) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    # the configuration first: a decoder with an encoder of its own need not be loaded yet
    cfw, features = model.config.cfw, None
    if cfw is not None and not cfw.own_encoder and model.cfw is not None:
        latents, features = model.autoencoder.encode_with_features(padded)
    else:
        latents = model.autoencoder.encode(padded)
    return require_finite(latents.float(), what="latents of the input"), features


def _encode_smooth(
    model: CoSeR, pixels: Tensor, size: Size
) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    smooth = pad_to_multiple(enlarge_smoothly(pixels, size), model.config.pixel_multiple)
    return _encode(model, smooth.to(pixels))


def enlarge_bicubic(pixels: Tensor, size: Size) -> Tensor:
    """Pixels `(B, 3, H, W)` at `size`: bicubic, not antialiased, clamped to [0, 1], as the
    published code.
    """
    return F.interpolate(pixels, size=size.hw, mode="bicubic").clamp(0, 1)


def enlarge_smoothly(pixels: Tensor, size: Size) -> Tensor:
    """Pixels `(B, 3, H, W)` at `size`, float32: bicubic as Pillow's, clamped to [0, 1]."""
    return F.interpolate(pixels.float(), size.hw, mode="bicubic", antialias=True).clamp(0, 1)


def enlarge_srresnet(network: Enlarger, pre_restored: Tensor, scale: float, size: Size) -> Tensor:
    """The SRResNet's enlargement at `size`, clamped to [0, 1]; `pre_restored` is its first pass.

    Further passes follow until at most a factor √2 is left to the (antialiased) bicubic resize:
    a pass for less than that costs sixteen times the memory and shows nothing.
    """
    enlarged = pre_restored.clamp(0, 1)
    for _ in range(srresnet_passes(scale, network.scale) - 1):
        enlarged = network(enlarged).clamp(0, 1)
    if Size.of(enlarged) == size:
        return enlarged
    resized = F.interpolate(enlarged.float(), size=size.hw, mode="bicubic", antialias=True)
    return resized.clamp(0, 1).to(enlarged.dtype)


def pad_to_multiple(pixels: Tensor, multiple: int) -> Tensor:
    """Fill pixels `(B, 3, H, W)` right and bottom up to multiples of `multiple`, mirrored where the
    picture suffices, else by repeating the edge.
    """
    height, width = pixels.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return pixels
    mirror = bottom < height and right < width
    return F.pad(pixels, (0, right, 0, bottom), mode="reflect" if mirror else "replicate")
