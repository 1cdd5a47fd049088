"""What tiling costs: a step of a large picture in tiles against that of one tile by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.bench.clock import OnProgress, Timing, silent, time_of
from coser_cli.engine.passes import restoring
from coser_cli.engine.restoration import Restorer, Times
from coser_cli.engine.tiled.cost import Task, cost_in_tiles
from coser_cli.engine.tiled.denoisers import tiles_with_controls
from coser_cli.engine.tiled.sampling import TiledSampler
from coser_cli.sampling.noise import noise_rows, seeded_noise
from coser_cli.settings import ResolvedSettings, TileSpec
from coser_cli.size import Size
from coser_cli.tiling.canvas import TensorMap
from coser_cli.tiling.grid import make_grid

if TYPE_CHECKING:
    from coser_cli.engine.cognition import Cognition
    from coser_cli.engine.upscaler import Upscaler

USUAL = TileSpec()


@dataclass(frozen=True)
class TiledStep:
    """One restoration step of a square picture of `side` pixels: `tiles` of `tile_size` pixels,
    `batch` at once; seconds of the step, and of the untiled step of a picture as large as a tile.
    """

    side: int
    tile_size: int
    tiles: int
    batch: int
    seconds: Timing
    untiled: Timing

    @property
    def per_tile(self) -> float:
        """Seconds per tile and step."""
        return self.seconds.median / self.tiles

    @property
    def factor(self) -> float:
        """How many times as long a tile takes among others as by itself."""
        return self.per_tile / self.untiled.median


@torch.inference_mode()
def measure_tiled(
    upscaler: Upscaler,
    settings: ResolvedSettings,
    cognition: Cognition,
    side: int,
    repeat: int,
    on_progress: OnProgress = silent,
    spec: TileSpec = USUAL,
) -> TiledStep:
    """One step over random latents, in tiles as `spec` says, as many at once as the engine would
    take; the tiled step is run once, as it has many tiles.

    Raises `UsageError` where the model does not take such tiles.
    """
    config = upscaler.model.config
    tile, stride = spec.cells(config)
    size = Size(side, side)
    cells = (size.padded(config.pixel_multiple) // config.downscale).width
    grid = make_grid(Size(cells, cells), tile, stride)
    task = Task(size.scaled(1 / settings.scale), settings, spec)
    batch = cost_in_tiles(upscaler.runtime, task).diffusion.tile_batch
    low_res, reference, state = (_latents(upscaler, settings, cells, k) for k in range(3))
    how = restoring(replace(settings, sampler="ddim", steps=1), config)
    maps = TensorMap(low_res), [TensorMap(reference)]
    predict = tiles_with_controls(upscaler.model, lambda tiles: cognition, how, *maps)
    tiled = TiledSampler(
        how.sampler,
        lambda step, rows: noise_rows(settings.seed, "restore", step, 4, rows, cells),
        lambda step: grid,
        batch,
        device=upscaler.device,
    )
    on_progress(f"tiles: {len(grid)} for {side}×{side} pixels")
    untiled = _untiled(upscaler, settings, cognition, tile, repeat)
    seconds = time_of(lambda: tiled(predict, TensorMap(state)), upscaler.device, 1, warmup=0)
    return TiledStep(side, spec.tile_size, len(grid), batch, seconds, untiled)


def _untiled(
    upscaler: Upscaler, settings: ResolvedSettings, cognition: Cognition, cells: int, repeat: int
) -> Timing:
    """A step of a picture of that many latent cells per side, in the middle of the schedule."""
    model, device = upscaler.model, upscaler.device
    low_res, reference, latents = (
        _latents(upscaler, settings, cells, k).to(device) for k in range(3)
    )
    timestep = model.config.schedule.num_train_timesteps // 2
    times = Times.of(model, [timestep], cognition.embedding)
    denoise = Restorer(model, cognition, times, (low_res, reference))
    branches = 1 if settings.guidance_scale == 1 else 2
    return time_of(partial(denoise, latents, timestep, branches), device, repeat)


def _latents(upscaler: Upscaler, settings: ResolvedSettings, cells: int, index: int) -> Tensor:
    """White noise on the CPU, where maps of large pictures lie."""
    channels = upscaler.model.config.autoencoder.latent_channels
    return seeded_noise(settings.seed, (1, channels, cells, cells))("latents", index).clone()
