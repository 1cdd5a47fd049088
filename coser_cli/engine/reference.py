"""Imagine the reference: the U-Net without controls, steered by cognition alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.engine.tiled_sampling import PredictTiles
from coser_cli.sampling import Predict, Walk, guide
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR


def imagine(model: CoSeR, cognition: Cognition, start: Tensor, walk: Walk) -> Tensor:
    """Reference latents `(B, 4, h, w)` from the noised low-resolution latents `start`."""
    latents = walk(without_controls(model, cognition, walk.guided), start)
    if not model.config.reference_roundtrip:
        return latents
    # the paper's reference is a picture before it is a condition (spec sec. 1)
    pixels = model.autoencoder.decode(latents.to(cognition.embedding.dtype))
    return model.autoencoder.encode(pixels).float()


def without_controls(model: CoSeR, cognition: Cognition, guided: bool) -> Predict:
    """The denoiser of the reference pass: both new attentions left out."""
    unet, dtype = model.unet, cognition.embedding.dtype
    context = cognition.for_unet(unet, guided)
    return lambda latents, timestep: unet(latents.to(dtype), timestep, context)


def tiles_without_controls(
    model: CoSeR, cognition: Callable[[Sequence[Box]], Cognition], guidance_scale: float
) -> PredictTiles:
    """`without_controls` and guidance for batches of tiles; see `tiles_with_controls`."""

    def predict(latents: Tensor, tiles: Sequence[Box], timestep: Tensor) -> Tensor:
        denoise = without_controls(model, cognition(tiles), guidance_scale != 1)
        return guide(denoise, guidance_scale)(latents, timestep)

    return predict
