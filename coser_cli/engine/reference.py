"""Imagine the reference: the U-Net without controls, steered by cognition alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.engine.passes import Pass
from coser_cli.engine.reuse import EXACT, Intervals, Kept, predict
from coser_cli.engine.tiled_sampling import PredictTiles
from coser_cli.sampling import Walk, guide
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.resnet import PreparedTime


def imagine(
    model: CoSeR, cognition: Cognition, start: Tensor, walk: Walk, intervals: Intervals
) -> Tensor:
    """Reference latents `(B, 4, h, w)` from the noised low-resolution latents `start`."""
    times = model.unet.prepare_times(walk.sampler.timesteps, cognition.embedding)
    latents = walk(Imaginer(model, cognition, times, intervals), start)
    if not model.config.reference_roundtrip:
        return latents
    # the paper's reference is a picture before it is a condition (spec sec. 1)
    pixels = model.autoencoder.decode(latents.to(cognition.embedding.dtype))
    return model.autoencoder.encode(pixels).float()


@dataclass(frozen=True)
class Imaginer:
    """The denoiser of the reference pass (a `Denoise`): both new attentions left out. `kept` are
    features of earlier steps, of this `place` among others, where `intervals` allow them.
    """

    model: CoSeR
    cognition: Cognition
    times: Mapping[int, PreparedTime]
    intervals: Intervals = EXACT
    kept: Kept = field(default_factory=Kept)
    place: Hashable = None

    def __call__(self, latents: Tensor, timestep: int, branches: int) -> Tensor:
        """Predictions `(branches·B, 4, h, w)`."""
        latents, unet = latents.to(self.cognition.embedding.dtype), self.model.unet
        inputs = latents, self.times[timestep], self.cognition.for_unet(unet, branches)
        key, step = ("deep", branches, self.place), list(self.times).index(timestep)
        return predict(
            self.model, inputs, lambda _: None, self.kept, key, step, self.intervals.deep
        )


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
        imaginer = Imaginer(model, understood, times, how.intervals, kept, place)
        return guide(imaginer, how.guidance)(latents, timestep)

    return predict_tiles
