"""What is known of a large picture between the stages, and what becomes of it: maps on disk."""

from __future__ import annotations

from dataclasses import dataclass

from coser_cli.tiling.canvas import Map, Readable


@dataclass(frozen=True)
class LargeLowRes:
    """`LowRes` on disk: the input, its padded enlargement, and that one's latents.

    `size` (height, width) of the enlargement is picture, `target` that of the result.
    `pre_restored` `(3, 4H, 4W)`: the
    SRResNet's first pass, where the enlargement is made of it.
    """

    pixels: Readable
    padded: Map
    size: tuple[int, int]
    target: tuple[int, int]
    latents: Map
    pre_restored: Readable | None


@dataclass(frozen=True)
class Large:
    """A result whose pixels are made band by band; valid as long as the scratch it lies in.

    `references` are the pictures that guided it, where they were wanted; `scores` and `chosen` as
    in `Upscaled`; `notes` say where something is not exact.
    """

    pixels: Readable
    references: tuple[Readable, ...] = ()
    scores: tuple[float, ...] | None = None
    chosen: int | None = None
    notes: tuple[str, ...] = ()
