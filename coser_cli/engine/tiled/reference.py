"""References of large pictures: pictures of the user placed into the frame, and their noise."""

from __future__ import annotations

from torch import Tensor

from coser_cli.engine.reference import candidate_stream, centre_cut
from coser_cli.engine.tiled.enlarging import pad
from coser_cli.sampling.noise import noise_rows
from coser_cli.tiling.canvas import Map, Part, Readable
from coser_cli.tiling.grid import cores
from coser_cli.tiling.resample import Resampler, resample_with

PLACED_TILE = 512


def noise_of_candidate(
    seed: int, candidate: int, latents: Map, stream: str, step: int, rows: range
) -> Tensor:
    """Rows of the noise of one candidate, for latents of that width."""
    channels, _, width = latents.shape
    return noise_rows(seed, candidate_stream(stream, candidate), step, channels, rows, width)


def place_large(picture: Readable, padded: Map, size: tuple[int, int]) -> None:
    """`place` of a picture `(3, H, W)` into the top left `size` of a map, and its padding."""
    _, height, width = picture.shape
    cut = centre_cut((height, width), size)
    part = Part(picture, cut)
    rows = Resampler(cut.height, size[0], "antialiased")
    columns = Resampler(cut.width, size[1], "antialiased")
    for box in cores(*size, PLACED_TILE):
        same = (cut.height, cut.width) == size
        padded.write(
            box, part.read(box) if same else resample_with(part, rows, columns, box).clamp(0, 1)
        )
    pad(padded, size)
