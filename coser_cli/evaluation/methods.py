"""What is measured: a model as a whole, with parts left out, other methods, folders of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coser_cli.engine.preparation import enlarge_srresnet
from coser_cli.engine.settings_check import is_guided
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import UsageError
from coser_cli.evaluation.color import levels
from coser_cli.evaluation.pairs import Picture, read_pixels
from coser_cli.models import realesrgan
from coser_cli.settings import ResolvedSettings, Settings
from coser_cli.size import Size

Enlarge = Callable[[Tensor, Settings], Tensor]
EnlargeByModel = Callable[[Upscaler, Tensor, ResolvedSettings], Tensor]
LoadUpscaler = Callable[[], Upscaler]

NOISE = 0.1
"""Deviation of the control that puts white noise on the latents in place of diffusion."""


def bicubic(pixels: Tensor, settings: Settings) -> Tensor:
    """By Pillow, in 8 bits."""
    size = [round(side * settings.scale) for side in pixels.shape[:-3:-1]]
    enlarged = Image.fromarray(levels(pixels[0])).resize(
        (size[0], size[1]), Image.Resampling.BICUBIC
    )
    return torch.from_numpy(np.array(enlarged)).permute(2, 0, 1)[None].float() / 255


def real_esrgan(pixels: Tensor, settings: Settings) -> Tensor:
    """Real-ESRGAN x4plus. Raises `UsageError` for another scale than 4."""
    if settings.scale != realesrgan.SCALE:
        raise UsageError("Real-ESRGAN x4plus enlarges four times", "give --scale 4")
    return realesrgan.enlarge(pixels)


def _whole(**changes: Any) -> EnlargeByModel:
    """The model with all its parts, and with some settings changed."""

    def enlarge(upscaler: Upscaler, pixels: Tensor, settings: ResolvedSettings) -> Tensor:
        return upscaler.upscale(pixels, replace(settings, **changes)).pixels

    return enlarge


def _srresnet(upscaler: Upscaler, pixels: Tensor, settings: ResolvedSettings) -> Tensor:
    network = upscaler.model.srresnet
    size = Size.of(pixels).scaled(settings.scale)
    pixels = pixels.to(upscaler.device, upscaler.runtime.picture_dtype)
    with torch.inference_mode():
        enlarged = enlarge_srresnet(network, network(pixels), settings.scale, size)
    return enlarged.float().cpu()


def _white_noise(upscaler: Upscaler, pixels: Tensor, settings: ResolvedSettings) -> Tensor:
    low_res = upscaler.prepare(pixels, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(low_res.latents.shape, generator=generator).to(low_res.latents)
    return upscaler.decode(low_res.latents + NOISE * noise, low_res, settings)


def _without_cognition(upscaler: Upscaler, pixels: Tensor, settings: ResolvedSettings) -> Tensor:
    low_res = upscaler.prepare(pixels, settings)
    blind = upscaler.understand(low_res, settings).without_embedding()
    guided = is_guided(settings, False)
    reference = upscaler.imagine(low_res, blind, settings) if guided else None
    return upscaler.decode(upscaler.restore(low_res, blind, reference, settings), low_res, settings)


PLAIN_ROWS: dict[str, Enlarge] = {"bicubic": bicubic, "realesrgan": real_esrgan}
"""Methods that need no model of ours."""
MODEL_ROWS: dict[str, EnlargeByModel] = {
    "srresnet": _srresnet,
    "no-diffusion": _whole(strength=0.0),
    "white-noise": _white_noise,
    "no-reference": _whole(reference_mode="none"),
    "no-cognition": _without_cognition,
    "everything": _whole(),
}
"""A model whole, and with parts left out."""
ROWS = (*PLAIN_ROWS, *MODEL_ROWS)


@dataclass(frozen=True)
class Computed:
    """One of `ROWS`: enlarges the low-resolution pictures of a set."""

    name: str
    enlarge: Enlarge
    settings: Settings

    def pixels(self, picture: Picture, crop: Callable[[Tensor, int], Tensor]) -> Tensor:
        """The result `(1, 3, H, W)` in [0, 1]; `crop` cuts what is enlarged. Raises `UsageError`
        where the set has no low-resolution pictures."""
        if picture.source is None:
            raise UsageError(
                f"{self.name} has nothing to enlarge", "give --input with low-resolution pictures"
            )
        low = crop(read_pixels(picture.source), round(self.settings.scale))
        return (self.enlarge(low, self.settings).clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True)
class Folder:
    """Results that another tool has made, by the pictures' names."""

    name: str
    files: Mapping[str, Path]

    def pixels(self, picture: Picture, crop: Callable[[Tensor, int], Tensor]) -> Tensor:
        """The result `(1, 3, H, W)` in [0, 1], as it is in the file; `crop` cuts it."""
        return crop(read_pixels(self.files[picture.name]), 1)


Method = Computed | Folder


def computed(name: str, settings: Settings, load: LoadUpscaler) -> Computed:
    """The row of this name; the model is loaded where the row needs one, when it is first used."""
    if name in PLAIN_ROWS:
        return Computed(name, PLAIN_ROWS[name], settings)
    by_model = MODEL_ROWS[name]

    def enlarge(pixels: Tensor, settings: Settings) -> Tensor:
        upscaler = load()
        return by_model(upscaler, pixels, upscaler.resolve(settings))

    return Computed(name, enlarge, settings)
