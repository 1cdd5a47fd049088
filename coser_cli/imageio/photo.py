"""A picture in memory: pixels as the network wants them, and what a file keeps beside them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coser_cli.imageio.metadata import Metadata
from coser_cli.size import Size

FloatArray = NDArray[np.float32]
Samples = NDArray[np.uint8] | NDArray[np.uint16]
"""Values of a file, `(H, W, C)`."""


@dataclass(frozen=True)
class Photo:
    """One decoded picture, upright and in sRGB unless said otherwise.

    `pixels` is float32 `(3, H, W)` in [0, 1]; `alpha` float32 `(H, W)` in [0, 1] or None.
    `icc` is the profile to write back: colours are converted to it again where `convert` is true,
    else they never left it. `metadata` is as the file had it.
    `bit_depth` is 16 where the pixels carry 16 bits. `notes` are things the user should know.
    """

    pixels: FloatArray
    alpha: FloatArray | None = None
    grey: bool = False
    bit_depth: int = 8
    icc: bytes | None = None
    convert: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        return Size.of(self.pixels)
