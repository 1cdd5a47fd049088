"""The denoisers of both passes for batches of tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.engine.feature_cache import Kept
from coser_cli.engine.passes import Pass
from coser_cli.engine.reference import Imaginer
from coser_cli.engine.restoration import Restorer, Times
from coser_cli.engine.tiled.sampling import PredictTiles
from coser_cli.sampling.guidance import guide
from coser_cli.tiling.canvas import Map, Readable
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.resnet import PreparedTime


def tiles_without_controls(
    model: CoSeR, cognition: Callable[[Sequence[Box]], Cognition], how: Pass
) -> PredictTiles:
    """An `Imaginer` and guidance for batches of tiles; see `tiles_with_controls`."""
    times: dict[int, PreparedTime] = {}
    kept = Kept()

    def predict_tiles(latents: Tensor, tiles: Sequence[Box], timestep: int) -> Tensor:
        understood = cognition(tiles)
        if not times:
            times.update(model.unet.prepare_times(how.sampler.timesteps, understood.embedding))
        place = tuple(tiles)
        imaginer = Imaginer(model, understood, times, how.deep_interval, kept, place)
        return guide(imaginer, how.guidance)(latents, timestep)

    return predict_tiles


def tiles_with_controls(
    model: CoSeR,
    cognition: Callable[[Sequence[Box]], Cognition],
    how: Pass,
    low_res: Map,
    references: Sequence[Readable],
    conditions: Mapping[str, Readable] | None = None,
) -> PredictTiles:
    """A `Restorer` and guidance for batches of tiles: the hints are cut to each tile.

    `cognition` of tiles has one entry for all or one each; `low_res`, the `references` and the
    `conditions` are latents `(4, h, w)` of the whole picture.
    """
    further = conditions or {}
    times: list[Times] = []  # known from the first tile on: that brings device and dtype
    kept = Kept()

    def predict_tiles(latents: Tensor, tiles: Sequence[Box], timestep: int) -> Tensor:
        whole = low_res, *references, *further.values()
        hints = [torch.cat([each.read(box) for box in tiles]) for each in whole]
        understood = cognition(tiles)
        if not times:
            times.append(Times.of(model, how.sampler.timesteps, understood.embedding))
        moved = tuple(hint.to(latents.device) for hint in hints)
        restorer = Restorer(
            model,
            understood,
            times[0],
            moved,
            how.deep_interval,
            kept,
            tuple(tiles),
            how.weights,
            tuple(further),
        )
        return guide(restorer, how.guidance)(latents, timestep)

    return predict_tiles
