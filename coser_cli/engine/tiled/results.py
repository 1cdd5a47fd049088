"""State of a large picture between the stages, and its result: maps on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from coser_cli.engine.color_fix import StreamedColorFix
from coser_cli.engine.mask import Regions
from coser_cli.size import Size
from coser_cli.tiling.canvas import Map, Readable
from coser_cli.tiling.derived import reduced


@dataclass(frozen=True)
class LargeLowRes:
    """`LowRes` on disk: the input, its padded enlargement, and that one's latents.

    `size` of the enlargement is picture, `target` is the result's. `pre_restored` `(3, 4H, 4W)`:
    the SRResNet's first pass, where the enlargement is made of it. `mask` `(1, h, w)` of any size.
    `conditions`: latents of the pictures of further conditions, by name.
    """

    pixels: Readable
    padded: Map
    size: Size
    target: Size
    encode: Callable[[], Map]
    pre_restored: Readable | None
    mask: Readable | None = None
    conditions: Mapping[str, Readable] = field(default_factory=dict)

    @property
    def latents(self) -> Map:
        """Of the padded enlargement."""
        return self.encode()

    @property
    def colors(self) -> Readable:
        """`LowRes.colors`; beyond `size` there may be padding."""
        return self.padded if self.pre_restored is None else reduced(self.pixels, self.size)

    def finished(self, picture: Readable, color_fix: str) -> Readable:
        """The rest of stage 5, as in `decoding.finish_result`, where it is read."""
        fixed = StreamedColorFix(color_fix, picture, self.colors, self.size)
        return self.masked_result(reduced(fixed, self.target))

    def masked_latents(self, restored: Readable, downscale: int) -> Readable:
        """Latents that are restored where the mask says so."""
        if self.mask is None:
            return restored
        return Regions(self.mask, self.pixels, self.size).latents(self.latents, restored, downscale)

    def masked_result(self, restored: Readable) -> Readable:
        """The result, over the plain enlargement where there is a mask."""
        if self.mask is None:
            return restored
        return Regions(self.mask, self.pixels, self.size).result(restored)


@dataclass(frozen=True)
class Large:
    """A result whose pixels are computed band by band; valid as long as its scratch.

    `references` are the pictures that guided it, where requested; `scores` and `chosen` as in
    `Upscaled`; `notes` say where something is not exact.
    """

    pixels: Readable
    references: tuple[Readable, ...] = ()
    scores: tuple[float, ...] | None = None
    chosen: int | None = None
    notes: tuple[str, ...] = ()
