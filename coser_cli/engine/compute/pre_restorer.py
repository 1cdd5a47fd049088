"""A super-resolution network of the user in place of the SRResNet.

It always works in tiles with a margin, in memory and on disk alike, so that both give the same
pixels and its memory is limited. Attention and long chains of convolutions depend on more than the
margin: for several tiles the result then differs slightly from that of the whole picture, as in
other programs that run such networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable, TensorMap
from coser_cli.tiling.grid import Box, cores

if TYPE_CHECKING:
    from coser_cli.weights.pre_restorer import Loaded

HALO = 32
"""What a tile sees around itself, in pixels of the input."""


class PreRestorer:
    """Pixels `(B, 3, H, W)` in [0, 1] → `(B, 3, scale·H, scale·W)` in [0, 1]: an `Enlarger`.

    Computes in float32, and stays on its device.
    """

    tile = 192
    """Longest side of a tile, in pixels of the input, without its margin."""

    def __init__(self, loaded: Loaded, device: torch.device) -> None:
        self._network: Any = loaded.network.to(device)
        self._device = device
        self.scale = loaded.network.scale
        side = self.tile + 2 * HALO
        self.memory = loaded.pixel_bytes * side**2

    def __call__(self, pixels: Tensor) -> Tensor:
        size = Size.of(pixels)
        result = pixels.new_empty(len(pixels), 3, *size.scaled(self.scale).hw)
        for number, picture in enumerate(pixels.split(1)):
            target = TensorMap(result[number : number + 1])
            for core in cores(size, self.tile):
                target.write(core.scaled(self.scale), self.enlarge_core(TensorMap(picture), core))
        return result

    def enlarge_core(self, source: Readable, core: Box) -> Tensor:
        """The part of the result `(1, 3, h, w)` that lies in the place of `core`, one of the
        `cores` of the source."""
        outer = core.widened(HALO).inside(Size.of(source))
        # networks may write into what they get
        pixels = source.read(outer).to(self._device, torch.float32, copy=True)
        return core.relative_to(outer).scaled(self.scale).crop(self._network(pixels))
