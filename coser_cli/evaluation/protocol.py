"""Measures a model on pairs of LR and HR pictures, whole and with parts of it left out.

A set is a folder with `HR/` and `LR/` (or `LRx4/`) holding PNGs of the same names. Results are
rounded to 8 bits before they are measured, as a file would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coser_cli.engine.preparation import enlarge_srresnet
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import InputError
from coser_cli.evaluation.metrics import METRICS
from coser_cli.settings import Settings
from coser_cli.size import target_size

Enlarge = Callable[[Upscaler, Tensor, Settings], Tensor]

NOISE = 0.1
"""Deviation of the control that puts white noise on the latents in place of diffusion."""


def _bicubic(_: Upscaler, pixels: Tensor, settings: Settings) -> Tensor:
    size = [round(side * settings.scale) for side in pixels.shape[:-3:-1]]
    levels = (pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()
    enlarged = Image.fromarray(levels).resize((size[0], size[1]), Image.Resampling.BICUBIC)
    return _to_tensor(enlarged)


def _srresnet(upscaler: Upscaler, pixels: Tensor, settings: Settings) -> Tensor:
    network = upscaler.model.srresnet
    size = target_size(pixels.shape[-2], pixels.shape[-1], settings.scale)
    pixels = pixels.to(upscaler.device, upscaler.dtype)
    with torch.inference_mode():
        enlarged = enlarge_srresnet(network, network(pixels), settings.scale, size)
    return enlarged.float().cpu()


def _no_diffusion(upscaler: Upscaler, pixels: Tensor, settings: Settings) -> Tensor:
    return upscaler.upscale(pixels, replace(settings, strength=0.0)).pixels


def _white_noise(upscaler: Upscaler, pixels: Tensor, settings: Settings) -> Tensor:
    low_res = upscaler.prepare(pixels, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(low_res.latents.shape, generator=generator).to(low_res.latents)
    return upscaler.decode(low_res.latents + NOISE * noise, low_res, settings)


def _without_reference(upscaler: Upscaler, pixels: Tensor, settings: Settings) -> Tensor:
    return upscaler.upscale(pixels, replace(settings, reference_mode="none")).pixels


def _without_cognition(upscaler: Upscaler, pixels: Tensor, settings: Settings) -> Tensor:
    low_res = upscaler.prepare(pixels, settings)
    blind = upscaler.understand(low_res, settings).without_embedding()
    reference = upscaler.imagine(low_res, blind, settings)
    return upscaler.decode(upscaler.restore(low_res, blind, reference, settings), low_res, settings)


def _everything(upscaler: Upscaler, pixels: Tensor, settings: Settings) -> Tensor:
    return upscaler.upscale(pixels, settings).pixels


ROWS: dict[str, Enlarge] = {
    "bicubic": _bicubic,
    "srresnet": _srresnet,
    "no-diffusion": _no_diffusion,
    "white-noise": _white_noise,
    "no-reference": _without_reference,
    "no-cognition": _without_cognition,
    "everything": _everything,
}


@dataclass(frozen=True)
class Pair:
    """One picture of a set, in both sizes."""

    high: Path
    low: Path

    def read(self) -> tuple[Tensor, Tensor]:
        """HR and LR pixels `(1, 3, H, W)` in [0, 1]."""
        return _to_tensor(Image.open(self.high)), _to_tensor(Image.open(self.low))


def find_pairs(folder: Path) -> list[Pair]:
    """The pairs of a set, by name.

    Raises:
        InputError: the folders are missing, or no picture is in both.
    """
    lows = [folder / name for name in ("LR", "LRx4") if (folder / name).is_dir()]
    highs = sorted((folder / "HR").glob("*.png")) if lows else []
    pairs = [Pair(high, lows[0] / high.name) for high in highs if (lows[0] / high.name).is_file()]
    if not pairs:
        raise InputError(f"{folder}: no HR/ and LR/ (or LRx4/) with PNG pictures of the same names")
    return pairs


def measure(
    upscaler: Upscaler, folder: Path, settings: Settings, row: str, metrics: list[str]
) -> dict[str, float]:
    """Mean of each metric over a set for one of `ROWS`."""
    found = list(_measured(upscaler, find_pairs(folder), settings, ROWS[row], metrics))
    means = {name: fmean(values[name] for values in found) for name in metrics}
    return {"pictures": len(found), **{name: round(value, 4) for name, value in means.items()}}


def _measured(
    upscaler: Upscaler, pairs: list[Pair], settings: Settings, enlarge: Enlarge, metrics: list[str]
) -> Iterator[dict[str, float]]:
    for pair in pairs:
        high, low = pair.read()
        result = (enlarge(upscaler, low, settings).clamp(0, 1) * 255).round() / 255
        # HR sides that are no multiple of the scale were cut by the makers of the LR set, or not
        result = result[..., : high.shape[-2], : high.shape[-1]]
        cut = high[..., : result.shape[-2], : result.shape[-1]]
        yield {name: METRICS[name](result, cut) for name in metrics}


def _to_tensor(image: Image.Image) -> Tensor:
    levels = np.array(image.convert("RGB"))
    return torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255
