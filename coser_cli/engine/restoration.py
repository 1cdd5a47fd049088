"""Restore: the U-Net with All-in-Attention to the low-resolution image and the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.sampling import Predict
from coser_cli.tiling.blend import Window, gaussian_window, tile
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR


def with_controls(
    model: CoSeR,
    cognition: Cognition,
    guided: bool,
    low_res: Tensor,
    reference: Tensor | None,
) -> Predict:
    """The denoiser of the restoration, for latents of the size of `low_res` `(B, 4, h, w)`.

    `low_res` and `reference` latents are the hints of a single ControlNet call per step, whose
    maps serve both guidance branches. Without a reference its attention is left out.
    """
    from coser_cli.models.unet import Controls

    unet, controlnet = model.unet, model.controlnet
    context, control_context = (
        cognition.for_unet(unet, guided),
        cognition.for_controlnet(controlnet),
    )
    batch = low_res.shape[0]
    hints = low_res if reference is None else torch.cat((low_res, reference))
    hints = hints.to(cognition.embedding.dtype)

    def denoise(latents: Tensor, timestep: Tensor) -> Tensor:
        latents = latents.to(hints.dtype)
        maps = controlnet(latents, timestep, hints, control_context)
        references = None if reference is None else tuple(m[batch:] for m in maps)
        controls = Controls(tuple(m[:batch] for m in maps), references)
        prediction: Tensor = unet(latents, timestep, context, controls)
        return prediction

    return denoise


def with_tiled_controls(
    model: CoSeR,
    cognition: Cognition,
    guided: bool,
    low_res: Tensor,
    reference: Tensor | None,
    boxes: Sequence[Box],
    window: Window = gaussian_window,
) -> Predict:
    """`with_controls` in overlapping tiles, whose predictions are blended at every step.

    Cognition is global; the spatial conditions are cut to the tile.
    """

    def denoiser(box: Box) -> Predict:
        cut = None if reference is None else box.crop(reference)
        return with_controls(model, cognition, guided, box.crop(low_res), cut)

    return tile([(box, denoiser(box)) for box in boxes], window)
