"""Restore: the U-Net with All-in-Attention to the low-resolution image and the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.engine.passes import Pass
from coser_cli.engine.step import Execute, Given, Hints, Networks, eagerly, predict
from coser_cli.engine.tiled_sampling import PredictTiles
from coser_cli.sampling import Denoise, guide
from coser_cli.tiling.canvas import Map
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.resnet import PreparedTime


@dataclass(frozen=True)
class Times:
    """What both networks are told of the time, for every timestep of a walk."""

    unet: Mapping[int, PreparedTime]
    controlnet: Mapping[int, PreparedTime]

    @staticmethod
    def of(model: CoSeR, timesteps: Sequence[int], like: Tensor) -> Times:
        """For these timesteps, with the device and dtype of `like`."""
        networks = model.unet, model.controlnet
        return Times(*(network.prepare_times(timesteps, like) for network in networks))


def with_controls(
    model: CoSeR,
    cognition: Cognition,
    times: Times,
    low_res: Tensor,
    reference: Tensor | None,
    execute: Execute = eagerly,
) -> Denoise:
    """The denoiser of the restoration, for latents of the size of `low_res` `(B, 4, h, w)`.

    `low_res` and `reference` latents `(N·B, 4, h, w)`, reference-major, are the ControlNet's hints,
    whose maps serve both guidance branches: a single call per step with one reference. Further
    references follow two at a time, so that the network itself never needs more memory. Without a
    reference its attention is left out. `execute` runs the steps.
    """
    networks = Networks(model.unet, model.controlnet)
    context = cognition.for_controlnet(model.controlnet)
    batch = low_res.shape[0]
    hints = low_res if reference is None else torch.cat((low_res, reference))
    pairs = hints.to(cognition.embedding.dtype).split(2 * batch)

    def denoise(latents: Tensor, timestep: int, branches: int) -> Tensor:
        controls = Hints(pairs, times.controlnet[timestep], context)
        prepared = times.unet[timestep], cognition.for_unet(networks.unet, branches)
        given = Given(latents.to(pairs[0].dtype), *prepared, controls)
        return execute(predict, networks, given)

    return denoise


def tiles_with_controls(
    model: CoSeR,
    cognition: Callable[[Sequence[Box]], Cognition],
    how: Pass,
    low_res: Map,
    references: Sequence[Map],
    execute: Execute = eagerly,
) -> PredictTiles:
    """`with_controls` and guidance for batches of tiles: the hints are cut to each tile's field.

    `cognition` of given tiles has one entry for all or one each; `low_res` and the `references` are
    latents `(4, h, w)` of the whole picture.
    """
    times: list[Times] = []  # known from the first tile on: that brings device and dtype

    def predict(latents: Tensor, tiles: Sequence[Box], timestep: int) -> Tensor:
        hints = [torch.cat([each.read(box) for box in tiles]) for each in (low_res, *references)]
        low, *others = (hint.to(latents.device) for hint in hints)
        reference = torch.cat(others) if others else None
        understood = cognition(tiles)
        if not times:
            times.append(Times.of(model, how.sampler.timesteps, understood.embedding))
        denoise = with_controls(model, understood, times[0], low, reference, execute)
        return guide(denoise, how.guidance)(latents, timestep)

    return predict
