"""`preparation`'s enlargement of pictures that do not fit memory: by tiles, from map to map.

Every network and kernel here has a limited reach, and each tile is computed with that margin, so
the result equals the enlargement of the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.engine.compute.pre_restorer import PreRestorer
from coser_cli.models.srresnet import RECONSTRUCT_REACH, SRResNet
from coser_cli.size import Size, srresnet_passes
from coser_cli.tiling.canvas import Canvas, Map, Readable, Scratch, Shape
from coser_cli.tiling.derived import Combined
from coser_cli.tiling.grid import Box, cores
from coser_cli.tiling.resample import Kernel, Resampler, resample_with
from coser_cli.tiling.sweep import OnTile

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.srresnet import Enlarger

NETWORK_TILE = 128
"""Side of what the SRResNet makes at once, in its input's pixels."""
RESIZE_TILE = 512


def enlarge(
    model: CoSeR,
    pixels: Readable,
    size: Size,
    scale: float,
    padded: Map,
    scratch: Scratch,
    on_tile: OnTile | None = None,
) -> Canvas | None:
    """Write `preparation.prepare`'s `padded` of pixels `(3, H, W)` in [0, 1], enlarged by `scale`
    to `size`.

    `padded` is `(3, >= size.height, >= size.width)`. Returns the SRResNet's first pass `(3, 4H,
    4W)`, not clamped, where the enlargement is made of it; it lies in the scratch.
    """
    if model.config.low_res_source != "srresnet":
        count = _Count(len(cores(size, RESIZE_TILE)), on_tile)
        _resize(pixels, size, "bicubic", padded, count)
        pad(padded, size)
        return None
    network = model.srresnet
    passes = srresnet_passes(scale, network.scale)
    inputs = [Size.of(pixels).scaled(network.scale**number) for number in range(passes)]
    tiles = sum(len(cores(each, _side(network))) for each in inputs)
    count = _Count(tiles + len(cores(size, RESIZE_TILE)), on_tile)
    enlarged = pre_restored = _apply(network, pixels, scratch, count)
    for _ in range(passes - 1):
        larger = _apply(network, _clamped(enlarged), scratch, count)
        if enlarged is not pre_restored:
            enlarged.close()
        enlarged = larger
    _resize(_clamped(enlarged), size, "antialiased", padded, count)
    if enlarged is not pre_restored:
        enlarged.close()
    pad(padded, size)
    return pre_restored


def pre_restore(
    model: CoSeR, pixels: Readable, scratch: Scratch, on_tile: OnTile | None = None
) -> Canvas:
    """The SRResNet's result `(3, 4H, 4W)`, not clamped, of pixels `(3, H, W)` in [0, 1]."""
    count = _Count(len(cores(Size.of(pixels), _side(model.srresnet))), on_tile)
    return _apply(model.srresnet, pixels, scratch, count)


def scratch_bytes(size: Size, scale: float, each: int = 4) -> int:
    """Bytes at the peak that `enlarge` takes of a scratch for an input of `size`, with the SRResNet
    or a network that enlarges `each` times; without `padded`.
    """
    passes = range(1, srresnet_passes(scale, each) + 1)
    first, *later = (3 * 4 * each ** (2 * number) * size.area for number in passes)
    return first + sum(later[-2:])


def reach(network: SRResNet) -> int:
    """How many input pixels around its own place an output depends on."""
    return RECONSTRUCT_REACH + 2 * network.config.num_block + 1


def pad(padded: Map, size: Size) -> None:
    """Fill a map right of and below its top left `size`, as `pad_to_multiple`."""
    height, width = size.hw
    right, bottom = padded.shape[2] - width, padded.shape[1] - height
    mirror = bottom < height and right < width
    mode = "reflect" if mirror else "replicate"
    for top in range(0, height if right else 0, RESIZE_TILE):
        after = min(top + RESIZE_TILE, height)
        left = width - 1 - right if mirror else width - 1
        edge = padded.read(Box(top, left, after, width))
        filled = F.pad(edge, (0, right, 0, 0), mode=mode)[..., -right:]
        padded.write(Box(top, width, after, width + right), filled)
    if bottom:
        top = height - 1 - bottom if mirror else height - 1
        edge = padded.read(Box(top, 0, height, width + right))
        filled = F.pad(edge, (0, 0, 0, bottom), mode=mode)[..., -bottom:, :]
        padded.write(Box(height, 0, height + bottom, width + right), filled)


class _Count:
    """Counts and reports the tiles that are done."""

    def __init__(self, total: int, on_tile: OnTile | None) -> None:
        self._done, self._total, self._on_tile = 0, total, on_tile

    def one_more(self) -> None:
        self._done += 1
        if self._on_tile is not None:
            self._on_tile(self._done, self._total)


def _clamped(source: Readable) -> Readable:
    """A map in [0, 1]."""
    return Combined(lambda values: values.clamp(0, 1), source)


class _Continued:
    """A map extended on every side by `edge` copies of its last pixels."""

    def __init__(self, source: Readable, edge: int) -> None:
        self._source = source
        self._edge = edge
        channels, height, width = source.shape
        self.shape: Shape = (channels, height + 2 * edge, width + 2 * edge)

    def place(self, box: Box) -> Box:
        """Where a box of the source lies."""
        return box.moved(self._edge, self._edge)

    def read(self, box: Box) -> Tensor:
        within = box.moved(-self._edge, -self._edge)
        size = Size.of(self._source)
        known = within.inside(size)
        beyond = (
            known.left - within.left,
            within.right - known.right,
            known.top - within.top,
            within.bottom - known.bottom,
        )
        return F.pad(self._source.read(known), beyond, mode="replicate")


@torch.inference_mode()
def _apply(network: Enlarger, source: Readable, scratch: Scratch, count: _Count) -> Canvas:
    """One pass of the network over the whole of a map."""
    size = Size.of(source)
    result = scratch.canvas((source.shape[0], *size.scaled(network.scale).hw))
    for core in cores(size, _side(network)):
        if isinstance(network, PreRestorer):
            enlarged = network.enlarge_core(source, core)
        else:
            assert isinstance(network, SRResNet)
            enlarged = _enlarge_core(network, source, core)
        result.write(core.scaled(network.scale), enlarged)
        count.one_more()
    return result


def _side(network: Enlarger) -> int:
    """Of its tiles."""
    return network.tile if isinstance(network, PreRestorer) else NETWORK_TILE


def _enlarge_core(network: SRResNet, source: Readable, core: Box) -> Tensor:
    """The part of the SRResNet's result that lies in the place of `core`."""
    weights = network.conv_first.weight  # never streamed, so that it is where it computes
    continued = _Continued(source, network.config.edge)
    core = continued.place(core)
    inner = core.widened(RECONSTRUCT_REACH).inside(Size.of(continued))
    outer = core.widened(reach(network)).inside(Size.of(continued))
    pixels = continued.read(outer).to(weights.device, weights.dtype)
    kept = inner.relative_to(outer)
    enlarged = network.reconstruct(kept.crop(network.extract(pixels)), kept.crop(pixels))
    return core.relative_to(inner).scaled(network.scale).crop(enlarged)


def _resize(source: Readable, size: Size, kernel: Kernel, target: Map, count: _Count) -> None:
    """A map at `size`, clamped to [0, 1], into the top left of `target`."""
    rows = Resampler(source.shape[1], size.height, kernel)
    columns = Resampler(source.shape[2], size.width, kernel)
    same = Size.of(source) == size
    for core in cores(size, RESIZE_TILE):
        values = source.read(core) if same else resample_with(source, rows, columns, core)
        target.write(core, values.clamp(0, 1))
        count.one_more()
