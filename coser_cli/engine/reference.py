"""Imagine the reference: the U-Net without controls, steered by cognition alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.engine.passes import Pass
from coser_cli.engine.step import Execute, Given, Networks, eagerly, predict
from coser_cli.engine.tiled_sampling import PredictTiles
from coser_cli.sampling import Denoise, Walk, guide
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.resnet import PreparedTime


def imagine(
    model: CoSeR, cognition: Cognition, start: Tensor, walk: Walk, execute: Execute = eagerly
) -> Tensor:
    """Reference latents `(B, 4, h, w)` from the noised low-resolution latents `start`."""
    times = model.unet.prepare_times(walk.sampler.timesteps, cognition.embedding)
    latents = walk(without_controls(model, cognition, times, execute), start)
    if not model.config.reference_roundtrip:
        return latents
    # the paper's reference is a picture before it is a condition (spec sec. 1)
    pixels = model.autoencoder.decode(latents.to(cognition.embedding.dtype))
    return model.autoencoder.encode(pixels).float()


def without_controls(
    model: CoSeR,
    cognition: Cognition,
    times: Mapping[int, PreparedTime],
    execute: Execute = eagerly,
) -> Denoise:
    """The reference pass's denoiser: both new attentions left out; `execute` runs its steps."""
    networks, dtype = Networks(model.unet), cognition.embedding.dtype

    def denoise(latents: Tensor, timestep: int, branches: int) -> Tensor:
        prepared = times[timestep], cognition.for_unet(networks.unet, branches)
        return execute(predict, networks, Given(latents.to(dtype), *prepared))

    return denoise


def tiles_without_controls(
    model: CoSeR,
    cognition: Callable[[Sequence[Box]], Cognition],
    how: Pass,
    execute: Execute = eagerly,
) -> PredictTiles:
    """`without_controls` and guidance for batches of tiles; see `tiles_with_controls`."""
    times: dict[int, PreparedTime] = {}

    def predict(latents: Tensor, tiles: Sequence[Box], timestep: int) -> Tensor:
        understood = cognition(tiles)
        if not times:
            times.update(model.unet.prepare_times(how.sampler.timesteps, understood.embedding))
        denoise = without_controls(model, understood, times, execute)
        return guide(denoise, how.guidance)(latents, timestep)

    return predict
