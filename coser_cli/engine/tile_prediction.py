"""Predictions of tiles that survive too little memory and too small a number range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.engine.retry import NotFiniteError, OutOfMemory, require_finite, with_smaller_batches
from coser_cli.engine.tiled_sampling import PredictTiles
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.engine.upscaler import Upscaler

Make = Callable[["Upscaler"], PredictTiles]
"""What predicts with the networks of an upscaler."""


class TilePrediction:
    """Predicts batches of tiles, of `batch` at first.

    Where memory does not suffice, the batch is done again in halves, down to single tiles, and then
    with weights that stream in layer by layer. Where a prediction is not finite, it is done again
    in float32, as is all that follows. What was learnt is kept for the next call; `notes` tells it.
    """

    def __init__(self, upscaler: Upscaler, batch: int) -> None:
        self.batch = batch
        self._upscaler = upscaler
        self.notes: list[str] = []

    def of(self, make: Make) -> PredictTiles:
        """The careful form of what `make` makes. Raises `DeviceError` where nothing helps."""
        predict = make(self._upscaler)

        def careful(latents: Tensor, tiles: Sequence[Box], timestep: Tensor) -> Tensor:
            nonlocal predict

            def attempt() -> Tensor:
                return self._in_batches(predict, latents, tiles, timestep)

            try:
                found = attempt()
            except OutOfMemory:
                self._use(self._upscaler.streamed(), "weights stream in layer by layer, slowly")
                predict = make(self._upscaler)
                found = attempt()
            if bool(found.isfinite().all()):
                return found
            self._use(self._upscaler.in_float32(), "predictions left the range of the dtype; "
                      "float32 from there on")
            predict = make(self._upscaler)
            return require_finite(attempt(), what="prediction")

        return careful
