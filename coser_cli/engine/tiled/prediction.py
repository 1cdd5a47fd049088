"""Predictions of tiles that retry on too little memory and too small a range of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.engine.compute.retry import require_finite, with_smaller_batches
from coser_cli.engine.tiled.sampling import PredictTiles
from coser_cli.errors import DeviceError
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.engine.compute.runtime import Runtime

Make = Callable[["Runtime"], PredictTiles]
"""What predicts with the networks of a runtime."""


class TilePrediction:
    """Predicts batches of tiles, of `batch` at first, with the networks of `runtime`.

    Where memory does not suffice, a batch is retried in halves, down to single tiles, then with
    weights loaded layer by layer. Where a prediction is not finite, it is computed again in
    float32. All later calls begin so; `note` gets a line of text.
    """

    def __init__(self, runtime: Runtime, batch: int, note: Callable[[str], None]) -> None:
        self.batch = batch
        self._runtime = runtime
        self._note = note

    def of(self, make: Make) -> PredictTiles:
        """`make`'s predictor with these retries. Raises `DeviceError` where nothing helps."""
        predict = make(self._runtime)

        def attempt(latents: Tensor, tiles: Sequence[Box], timestep: int) -> Tensor:
            def run(indices: Sequence[int]) -> list[Tensor]:
                chosen = latents[indices[0] : indices[-1] + 1]
                return list(predict(chosen, [tiles[i] for i in indices], timestep).split(1))

            where = self._runtime.device
            indices = range(len(tiles))
            predictions = with_smaller_batches(
                run, indices, self.batch, self._shrink, device=where, what="tile"
            )
            return torch.cat(predictions)

        def careful(latents: Tensor, tiles: Sequence[Box], timestep: int) -> Tensor:
            nonlocal predict
            try:
                prediction = attempt(latents, tiles, timestep)
            except DeviceError:
                if self._runtime.model.placement.offload == "sequential":
                    raise
                self._use(self._runtime.streaming(), "weights streamed in layer by layer")
                predict = make(self._runtime)
                prediction = attempt(latents, tiles, timestep)
            if not bool(prediction.isfinite().all()) and self._runtime.dtype != torch.float32:
                self._use(self._runtime.in_float32(), "it was computed in float32")
                predict = make(self._runtime)
                prediction = attempt(latents, tiles, timestep)
            return require_finite(prediction, what="prediction")

        return careful

    def _shrink(self, batch: int) -> None:
        self._note(f"memory sufficed for {batch} tiles at a time, not for {self.batch}")
        self.batch = batch

    def _use(self, runtime: Runtime, words: str) -> None:
        self._note(f"from the tile on where that became necessary, {words}")
        self._runtime = runtime
