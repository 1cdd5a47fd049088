"""Latents to pixels: VAE or CFW decoder, crop, colour fix, clamp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.engine.color_fix import color_fix
from coser_cli.engine.mask import masked_latents, masked_result
from coser_cli.engine.preparation import LowRes
from coser_cli.engine.settings_check import decodes

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.settings import ResolvedSettings


def decode(model: CoSeR, latents: Tensor, low_res: LowRes, fidelity: float) -> Tensor:
    """Pixels of the padded size, float32, not clamped, of latents `(B, 4, h, w)`.

    With CFW, detail of the low-resolution picture enters with weight `fidelity` in [0, 1].
    """
    latents = latents.to(low_res.padded.dtype)
    if model.cfw is None:
        return model.autoencoder.decode(latents).float()
    features = low_res.features
    if features is None and not fidelity:
        features = ()
    elif features is None:
        features = model.cfw.features(low_res.padded)
    return model.cfw.decode(latents, features, fidelity).float()


def decode_result(
    model: CoSeR, latents: Tensor | None, low_res: LowRes, settings: ResolvedSettings
) -> Tensor:
    """`decode` with these settings. `strength` of a one-step model blends the pictures decoded
    without and with the step. A mask keeps latents. With `plain_result` "low_res", strength 0 is
    the enlargement itself.
    """
    if not decodes(settings, model.config):
        return low_res.padded.float()
    latents = low_res.latents if latents is None else latents
    # what a light autoencoder makes of latents that no step has changed is no picture: then the
    # pixels alone are kept (`finish_result`)
    light = model.config.autoencoder.light is not None
    if low_res.mask is not None and settings.strength and not light:
        factor = model.config.downscale
        latents = masked_latents(low_res.mask, low_res.latents, latents, low_res.size, factor)
    pixels = decode(model, latents, low_res, settings.fidelity)
    if model.config.one_step is None or settings.strength in (0, 1):
        return pixels
    if model.config.plain_result == "low_res":
        plain = low_res.padded.float()
    else:
        plain = decode(model, low_res.latents, low_res, settings.fidelity)
    return torch.lerp(plain, pixels, settings.strength)


def decode_references(model: CoSeR, latents: Tensor, low_res: LowRes) -> Tensor:
    """Pixels `(N, 3, *target.hw)` in [0, 1], float32 on the CPU, that the VAE alone makes of
    latents `(N, 4, h, w)`; one at a time.
    """
    decoded = (model.autoencoder.decode(each) for each in latents.to(low_res.padded).split(1))
    return torch.cat([finish(pixels.float(), low_res, "none").cpu() for pixels in decoded])


def finish_result(pixels: Tensor, low_res: LowRes, color_fix_name: str) -> Tensor:
    """`finish` on the CPU, over the plain enlargement where there is a mask."""
    result = finish(pixels, low_res, color_fix_name).cpu()
    return result if low_res.mask is None else masked_result(low_res.mask, low_res.pixels, result)


def finish(pixels: Tensor, low_res: LowRes, color_fix_name: str) -> Tensor:
    """Cut the padding off, give the colours of the input, clamp to [0, 1], reduce where the result
    is smaller than what was worked at: `(B, 3, *target.hw)`."""
    pixels = pixels[..., : low_res.size.height, : low_res.size.width]
    style = pixels if color_fix_name == "none" else low_res.colors
    fixed = color_fix(color_fix_name, pixels, style).clamp(0, 1)
    if low_res.target == low_res.size:
        return fixed
    return F.interpolate(fixed, low_res.target.hw, mode="bicubic", antialias=True).clamp(0, 1)
