"""The autoencoder's passes over whole maps: a picture to latents, latents to a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from coser_cli.engine.compute.retry import require_finite
from coser_cli.engine.progress import Progress
from coser_cli.engine.tiled.reference import fill, place_large
from coser_cli.engine.tiled.vae import TiledPass, Tiling, decoding, encoding
from coser_cli.size import Size
from coser_cli.tiling.canvas import Map, Readable, Scratch
from coser_cli.tiling.derived import reduced
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.engine.compute.runtime import Runtime
    from coser_cli.engine.tiled.results import LargeLowRes


class TiledAutoencoder:
    """Encodes and decodes maps on `scratch`, cut as `tiling` says.

    `note` gets a line where a result is not that of the untiled network. Raises `NotFiniteError`.
    """

    def __init__(
        self,
        runtime: Runtime,
        tiling: Tiling,
        scratch: Scratch,
        note: Callable[[str], None],
        on_progress: Progress,
    ) -> None:
        self._runtime = runtime
        self._tiling = tiling
        self._scratch = scratch
        self._note = note
        self._progress = on_progress

    def latents_of(self, padded: Map) -> Map:
        """Room for the latents of a padded picture."""
        config = self._runtime.model.config
        cells = Size.of(padded) // config.downscale
        return self._scratch.canvas((config.autoencoder.latent_channels, *cells.hw))

    def encode(self, padded: Map) -> Map:
        """Latents of a padded picture."""
        self._runtime.enter("prepare")
        latents = self.latents_of(padded)
        tiled_pass = encoding(self._runtime.model, Size.of(padded), self._tiling)
        self._run(tiled_pass, {"pixels": padded}, latents, "encode")
        return latents

    def encode_smooth(self, picture: Readable, padded: Map, size: Size) -> Map:
        """Latents of the bicubic enlargement of a picture to `size`, padded as `padded`."""
        smooth = self._scratch.canvas(padded.shape)
        fill(reduced(picture, size), smooth)
        return self.encode(smooth)

    def encode_placed(self, picture: Map, low_res: LargeLowRes) -> Map:
        """Latents of a picture of the user, placed into the frame of the result."""
        return self.encode(self.placed(picture, low_res))

    def placed(self, picture: Map, low_res: LargeLowRes) -> Map:
        """A picture of the user in the padded frame of the result."""
        placed = self._scratch.canvas(low_res.padded.shape)
        place_large(picture, placed, low_res.size)
        return placed

    def decode(self, latents: Readable, padded: Map, fidelity: float | None) -> Map:
        """The picture of latents, not clamped, beside the one that was encoded; with `fidelity`
        None by the autoencoder's own decoder."""
        self._runtime.enter("decode")
        picture = self._scratch.canvas(padded.shape)
        tiled_pass = decoding(self._runtime.model, Size.of(padded), self._tiling, fidelity)
        self._run(tiled_pass, {"latents": latents, "pixels": padded}, picture, "decode")
        return picture

    def _run(
        self, tiled_pass: TiledPass, maps: Mapping[str, Readable], target: Map, stage: str
    ) -> None:
        def write(box: Box, values: Tensor) -> None:
            target.write(box, require_finite(values))

        tiled_pass.run(maps, write, self._scratch, partial(self._progress, stage))
        if tiled_pass.note:
            self._note(tiled_pass.note)
