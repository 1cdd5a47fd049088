"""Imagine the reference: the U-Net without controls, steered by cognition alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.sampling import Predict, Walk

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
