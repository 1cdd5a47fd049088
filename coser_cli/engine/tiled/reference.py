"""References of large pictures: imagined for the frame at a size that the model was trained for, or
pictures of the user placed into the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from coser_cli.engine.alignment_blocks import align_maps
from coser_cli.engine.preparation import LowRes, known, pad_to_multiple
from coser_cli.engine.reference import References, candidate_stream, centre_cut, nearest
from coser_cli.engine.tiled.enlarging import pad
from coser_cli.sampling.noise import noise_rows
from coser_cli.size import LONGEST, Size
from coser_cli.tiling.canvas import Map, Part, Readable, Scratch, Shape
from coser_cli.tiling.derived import reduced
from coser_cli.tiling.grid import Box, cores

if TYPE_CHECKING:
    from coser_cli.engine.compute.runtime import Runtime
    from coser_cli.engine.tiled.results import LargeLowRes
    from coser_cli.settings import ResolvedSettings

PLACED_TILE = 512


class ReducedReference:
    """Latents of a reference that was imagined for a smaller frame; `shape` is that of the full
    frame.

    A tile reads as many cells as it has, around the same relative position: it gets more of the
    frame than its part, with detail of the size that the model was trained for. The reference
    attention finds similar places wherever they are. `low_res` is the input that the reference was
    imagined for.
    """

    def __init__(self, latents: Tensor, low_res: LowRes, frame: Size) -> None:
        self.latents = latents
        self.low_res = low_res
        self.shape: Shape = (latents.shape[1], *frame.hw)

    def read(self, box: Box) -> Tensor:
        """What the tile in `box` of the frame sees, `(1, C, box.height, box.width)`."""
        height, width = self.latents.shape[-2:]
        top = _start(box.top, box.height, self.shape[1], height)
        left = _start(box.left, box.width, self.shape[2], width)
        return Box(top, left, top + box.height, left + box.width).crop(self.latents)


def _start(first: int, length: int, frame: int, cells: int) -> int:
    """Where `length` of `cells` begin, such that their middle lies where that of the same length
    from `first` on lies in the frame, as far as there are cells."""
    middle = (first + length / 2) * cells / frame
    return min(max(round(middle - length / 2), 0), cells - length)


def frame_size(size: Size, side: int) -> Size:
    """Size at which a frame of `size` is imagined: its own, or reduced until the short side is
    `side` and the long one at most `LONGEST` times that.
    """
    return size.scaled(min(1.0, side / size.short_side, LONGEST * side / size.long_side))


def frame_to_imagine(runtime: Runtime, low_res: LargeLowRes, side: int, tile: Size) -> LowRes:
    """The low-resolution picture at `frame_size`, in memory, for imagining a reference. Its latents
    are at least as large as a tile of `tile` cells.
    """
    config, size = runtime.model.config, frame_size(low_res.size, side)
    dtype, device = runtime.picture_dtype, runtime.device
    if size == low_res.size:
        padded, latents = (
            each.read(Box.whole(Size.of(each))).to(device)
            for each in (low_res.padded, low_res.latents)
        )
        padded = padded.to(dtype)
        return LowRes(padded, padded, size, low_res.target, known(latents))
    picture = reduced(Part(low_res.padded, Box.whole(low_res.size)), size)
    pixels = picture.read(Box.whole(size)).to(device, dtype)
    bottom = max(0, tile.height * config.downscale - size.height)
    right = max(0, tile.width * config.downscale - size.width)
    filled = F.pad(pixels, (0, right, 0, bottom), mode="replicate")
    padded = pad_to_multiple(filled, config.pixel_multiple)
    runtime.enter("prepare")
    latents = runtime.model.autoencoder.encode(padded).float()
    return LowRes(pixels, padded, size, size, known(latents))


def noise_of_candidate(
    seed: int, candidate: int, latents: Map, stream: str, step: int, rows: range
) -> Tensor:
    """Rows of the noise of one candidate, for latents of that width."""
    channels, _, width = latents.shape
    return noise_rows(seed, candidate_stream(stream, candidate), step, channels, rows, width)


def place_large(picture: Readable, padded: Map, size: Size) -> None:
    """`place` of a picture `(3, H, W)` into the top left `size` of a map, and its padding."""
    fill(reduced(Part(picture, centre_cut(Size.of(picture), size)), size), padded)


def fill(picture: Readable, padded: Map) -> None:
    """A picture `(3, H, W)` into the top left of a map, and its padding."""
    size = Size.of(picture)
    for box in cores(size, PLACED_TILE):
        padded.write(box, picture.read(box))
    pad(padded, size)


def align(
    placed: Sequence[Readable],
    picture: Readable,
    low_res: LargeLowRes,
    settings: ResolvedSettings,
    scratch: Scratch,
    score: Callable[[Readable], float],
) -> tuple[Readable, References[Readable]]:
    """What `reference.align` does, of pictures that are `placed` into the frame and padded."""
    scores, best = None, None
    if settings.reference_select == "clip" and len(placed) > 1:
        scores = tuple(map(score, placed))
        best = nearest(scores)
        placed = [placed[best]]
    guided = scratch.canvas(low_res.padded.shape)
    align_maps(picture, placed, guided, settings.reference_weight)
    shown = reduced(Part(guided, Box.whole(low_res.size)), low_res.target)
    return guided, References[Readable]((), scores, best, shown)
