"""Sample latents of any size in overlapping tiles: predictions are blended, the sampler steps once.

At every step each tile is predicted from the same state, the predictions are averaged, and the
state moves on as a whole (MultiDiffusion; spec sec. 8): tiles never drift apart. The state lies in
a `Map`; rows step as soon as no tile of the step reaches them, so that memory holds little more
than one row of tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coser_cli.config import ScheduleConfig
from coser_cli.sampling.loop import Stepper
from coser_cli.sampling.noise import to_device
from coser_cli.sampling.schedulers import Sampler, add_noise
from coser_cli.tiling.blend import GAUSSIAN, Blend, Window
from coser_cli.tiling.canvas import Map, Readable
from coser_cli.tiling.grid import Box, Grid, bands

PredictTiles = Callable[[Tensor, Sequence[Box], int], Tensor]
"""(latents of equal tiles `(B, C, t, t)`, their boxes, timestep) -> prediction, same shape."""
NoiseRows = Callable[[int, range], Tensor]
"""(step, rows) -> white noise `(1, C, len(rows), width)`, always the same for a row."""
OnTiles = Callable[[int, int], None]
"""(tiles done, tiles in all), over all steps."""

BAND = 32
"""Rows that step together."""
NOISED_ROWS = 256
"""Rows that are noised at once."""


def begin(
    state: Map,
    latents: Readable,
    schedule: ScheduleConfig,
    timestep: int,
    noise: Callable[[range], Tensor] | None,
) -> None:
    """Write latents `(C, h, w)`, noised to `timestep` where there is noise for their rows."""
    for rows in bands(state.shape[1], NOISED_ROWS):
        box = Box(rows.start, 0, rows.stop, state.shape[2])
        values = latents.read(box)
        if noise is not None:
            values = add_noise(values, noise(rows), schedule, timestep)
        state.write(box, values)


def jitter(seed: int, step: int, stride: int) -> tuple[int, int]:
    """How far down and right the tiles of a step are moved, less than `stride` cells each."""
    digest = hashlib.sha256(f"{seed}/tiles/{step}".encode()).digest()
    down, right = digest[0] * 256 + digest[1], digest[2] * 256 + digest[3]
    return down % stride, right % stride


@dataclass(frozen=True)
class TiledSampler:
    """How latents are sampled in tiles.

    `grid(step)` says where the tiles of a step lie; `batch` of them are predicted in one call.
    """

    sampler: Sampler
    noise: NoiseRows
    grid: Callable[[int], Grid]
    batch: int = 1
    window: Window = GAUSSIAN
    device: str | torch.device = "cpu"

    def __call__(self, predict: PredictTiles, state: Map, on_tiles: OnTiles | None = None) -> None:
        """Sample `state` `(C, h, w)`, latents noised to the sampler's start, in place."""
        _, height, _ = state.shape
        bands = [_Band(self, state, top, min(top + BAND, height)) for top in range(0, height, BAND)]
        grids = [self.grid(step) for step in range(len(self.sampler.timesteps))]
        done, total = 0, sum(map(len, grids))
        for step, (grid, timestep) in enumerate(zip(grids, self.sampler.timesteps, strict=True)):
            blend, scale, waiting = Blend(grid, self.window), bands[0].scale(step), list(bands)
            boxes = grid.boxes()
            for first in range(0, len(boxes), self.batch):
                tiles = boxes[first : first + self.batch]
                read = torch.cat([state.read(box) for box in tiles])
                scaled = to_device(read, torch.device(self.device)) * scale
                predictions = predict(scaled, tiles, timestep).split(1)
                for box, values in zip(tiles, predictions, strict=True):
                    blend.add(box, values.float().cpu())
                done += len(tiles)
                final = grid.settled(tiles[-1])
                while waiting and waiting[0].bottom <= final:
                    band = waiting.pop(0)
                    band.step(step, blend.take(band.bottom))
                if on_tiles is not None:
                    on_tiles(done, total)


class _Band:
    """Rows of the state that step together, with the sampler's memory of them."""

    def __init__(self, tiled: TiledSampler, state: Map, top: int, bottom: int) -> None:
        self._noise = tiled.noise
        self._state = state
        self._stepper = Stepper(tiled.sampler)
        self._box = Box(top, 0, bottom, state.shape[2])
        state.write(self._box, self._stepper.begin(state.read(self._box)))

    @property
    def bottom(self) -> int:
        return self._box.bottom

    def scale(self, step: int) -> float:
        """The factor from the state to what the network sees."""
        return self._stepper.scale(step)

    def step(self, step: int, output: Tensor) -> None:
        """Move these rows on, by the prediction for them."""
        rows = range(self._box.top, self._box.bottom)
        # a copy: some schedulers keep the state, and these rows are about to be overwritten
        state = self._state.read(self._box).clone()
        stepped = self._stepper.step(step, output, state, lambda i: self._noise(i, rows))
        self._state.write(self._box, stepped)
