"""Two-stage degradation that makes LR pictures for training (Real-ESRGAN, Wang et al. 2021; the
milder ranges of the public CoSeR reproduction).

A share of the pairs is left at plain bicubic reduction, so that clean inputs stay clean.
"""

from __future__ import annotations

import io
import math
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from coser_cli.errors import UsageError


@dataclass(frozen=True)
class Stage:
    """Ranges of one degradation stage; probabilities in [0, 1], sigmas in pixels or grey levels."""

    blur_probability: float
    kernel_size: int
    sigma: tuple[float, float]
    resize_probabilities: tuple[float, float, float]  # up, down, keep
    resize_range: tuple[float, float]
    gaussian_probability: float
    noise_sigma: tuple[float, float]
    poisson_scale: tuple[float, float]
    grey_probability: float
    jpeg_quality: tuple[int, int]


FIRST = Stage(
    1.0, 21, (0.2, 1.5), (0.2, 0.7, 0.1), (0.3, 1.5), 0.5, (1, 15), (0.05, 2.0), 0.4, (60, 95)
)
SECOND = Stage(
    0.5, 11, (0.2, 1.0), (0.3, 0.4, 0.3), (0.6, 1.2), 0.5, (1, 12), (0.05, 1.0), 0.4, (60, 100)
)


HARD_FIRST = Stage(
    1.0, 21, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), 0.5, (1, 30), (0.05, 3.0), 0.4, (30, 95)
)
HARD_SECOND = Stage(
    0.8, 21, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), 0.5, (1, 25), (0.05, 2.5), 0.4, (30, 95)
)
"""The published ranges of Real-ESRGAN x4plus."""


@dataclass(frozen=True)
class DegradationConfig:
    """Shares of the three kinds of LR pictures; what remains goes through both stages."""

    bicubic: float = 0.25
    blur_only: float = 0.25
    scale: int = 4
    first: Stage = FIRST
    second: Stage = SECOND


def read_degradation(path: Path) -> DegradationConfig:
    """The degradation of a TOML file: fields of `DegradationConfig`, `first` and `second` as tables
    with fields of `Stage`; what is not named stays as it is by default.

    Raises:
        UsageError: it cannot be read, has an unknown field, or shares above 1.
    """
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, default in (("first", FIRST), ("second", SECOND)):
            ranges = table.get(name, {})
            fields: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in ranges.items()
            }
            table[name] = replace(default, **fields)
        config = DegradationConfig(**table)
    except (OSError, tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a degradation recipe ({error})") from error
    if config.bicubic + config.blur_only > 1:
        raise UsageError(f"{path}: bicubic and blur_only are more than all pictures")
    return config


RECIPES = {
    "bicubic": DegradationConfig(bicubic=1, blur_only=0),
    "coser": DegradationConfig(bicubic=0, blur_only=0),
    "realesrgan": DegradationConfig(0, 0, first=HARD_FIRST, second=HARD_SECOND),
}
"""Degradations for evaluation: one kind of LR picture each."""


def gaussian_kernel(size: int, sigma_x: float, sigma_y: float, angle: float, beta: float) -> Tensor:
    """`(size, size)` generalised Gaussian, sums to 1. `beta` 1 is the plain Gaussian."""
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    u = (math.cos(angle) * x + math.sin(angle) * y) / sigma_x
    v = (-math.sin(angle) * x + math.cos(angle) * y) / sigma_y
    kernel = torch.exp(-0.5 * (u * u + v * v) ** beta)
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> Tensor:
    """`(size, size)` circular low-pass (ringing), `cutoff` in radians per pixel; sums to 1."""
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = torch.sqrt(x * x + y * y).clamp_min(1e-6)
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()


def random_kernel(stage: Stage, rng: np.random.Generator) -> Tensor:
    """A kernel of the stage: sinc .1, isotropic .54, anisotropic .36 (a quarter generalised)."""
    if rng.random() < 0.1:
        return sinc_kernel(stage.kernel_size, rng.uniform(math.pi / 3, math.pi))
    sigma_x = rng.uniform(*stage.sigma)
    isotropic = rng.random() < 0.6
    sigma_y = sigma_x if isotropic else rng.uniform(*stage.sigma)
    beta = rng.uniform(0.5, 2.0) if rng.random() < 0.25 else 1.0
    return gaussian_kernel(stage.kernel_size, sigma_x, sigma_y, rng.uniform(0, math.pi), beta)


def blur(pixels: Tensor, kernel: Tensor) -> Tensor:
    """`(3, H, W)` filtered by `(k, k)`, reflected at the border."""
    margin = kernel.shape[-1] // 2
    padded = F.pad(pixels[None], (margin,) * 4, mode="reflect")
    return F.conv2d(padded.transpose(0, 1), kernel[None, None]).transpose(0, 1)[0]


def resize(pixels: Tensor, size: tuple[int, int], rng: np.random.Generator | None) -> Tensor:
    """`(3, H, W)` → `(3, *size)` by area, bilinear or bicubic at random; antialiased bicubic
    without `rng`."""
    mode = "bicubic" if rng is None else str(rng.choice(["area", "bilinear", "bicubic"]))
    antialias = {} if mode == "area" else {"antialias": True, "align_corners": False}
    return F.interpolate(pixels[None], size=size, mode=mode, **antialias)[0].clamp(0, 1)  # type: ignore[arg-type]


def add_noise(pixels: Tensor, stage: Stage, rng: np.random.Generator) -> Tensor:
    """Gaussian or Poisson noise, grey or coloured."""
    grey = rng.random() < stage.grey_probability
    shape = (1, *pixels.shape[1:]) if grey else tuple(pixels.shape)
    if rng.random() < stage.gaussian_probability:
        noise = rng.standard_normal(shape, dtype=np.float32) * rng.uniform(*stage.noise_sigma) / 255
        return pixels + torch.from_numpy(noise)
    base = pixels.mean(0, keepdim=True) if grey else pixels
    levels = 2.0 ** math.ceil(math.log2(max(len(torch.unique((base * 255).round())), 2)))
    shot = rng.poisson((base.clamp(0, 1) * levels).numpy()).astype(np.float32) / levels
    return pixels + (torch.from_numpy(shot) - base) * rng.uniform(*stage.poisson_scale)


def jpeg(pixels: Tensor, quality: int) -> Tensor:
    """`(3, H, W)` in [0, 1] through JPEG."""
    levels = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer), dtype=np.float32) / 255
    return torch.from_numpy(decoded).permute(2, 0, 1)


def _random_size(size: tuple[int, int], stage: Stage, rng: np.random.Generator) -> tuple[int, int]:
    low, high = stage.resize_range
    kind = rng.choice(3, p=stage.resize_probabilities)
    factor = (rng.uniform(1, high), rng.uniform(low, 1), 1.0)[kind]
    return max(8, round(size[0] * factor)), max(8, round(size[1] * factor))


def degrade(pixels: Tensor, config: DegradationConfig, rng: np.random.Generator) -> Tensor:
    """LR picture of an HR one: `(3, H, W)` in [0, 1] → `(3, H/scale, W/scale)` in [0, 1]."""
    height, width = pixels.shape[1:]
    target = (height // config.scale, width // config.scale)
    kind = rng.random()
    if kind < config.bicubic:
        return resize(pixels, target, None)
    if kind < config.bicubic + config.blur_only:
        sigma = rng.uniform(0.4, 2.4)
        ratio = rng.uniform(0.7, 1.0)
        kernel = gaussian_kernel(21, sigma, sigma * ratio, rng.uniform(0, math.pi), 1.0)
        out = resize(blur(pixels, kernel), target, rng)
        return jpeg(out, int(rng.integers(85, 100))) if rng.random() < 0.3 else out
    first, second = config.first, config.second
    out = blur(pixels, random_kernel(first, rng))
    out = resize(out, _random_size((height, width), first, rng), rng)
    out = jpeg(add_noise(out, first, rng), int(rng.integers(*first.jpeg_quality)))
    if rng.random() < second.blur_probability:
        out = blur(out, random_kernel(second, rng))
    out = resize(out, _random_size(target, second, rng), rng)
    out = add_noise(out, second, rng).clamp(0, 1)
    quality = int(rng.integers(*second.jpeg_quality))
    if rng.random() < 0.5:
        return jpeg(_back_to(out, target, rng), quality)
    return _back_to(jpeg(out, quality), target, rng)


def _back_to(pixels: Tensor, target: tuple[int, int], rng: np.random.Generator) -> Tensor:
    out = resize(pixels, target, rng)
    if rng.random() < 0.8:
        out = blur(out, sinc_kernel(11, rng.uniform(math.pi / 3, math.pi)))
    return out.clamp(0, 1)
