"""Pictures as callers have them → pixels; results → pictures of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from coser_cli.engine.mask import require_mask
from coser_cli.errors import InputError, UsageError
from coser_cli.imageio.in_memory import InMemory, opened
from coser_cli.settings import Settings

Image: TypeAlias = Tensor | InMemory
"""A tensor `(B, 3, H, W)` or `(3, H, W)`, float in [0, 1]; else see `imageio.in_memory.opened`."""
Back = Callable[[Tensor], Any]


def unchanged(pixels: Tensor) -> Tensor:
    """Pixels as they are."""
    return pixels


@dataclass(frozen=True)
class Upscaled:
    """The result `(B, 3, round(H·s), round(W·s))` in [0, 1], float32 on the CPU, and, where
    requested, the references that guided it, `(N·B, 3, …)` of the same size, reference-major.

    `scores` of all candidates, and the index of the `chosen` one, where one was chosen. `back`
    turns pixels into a picture of the caller's kind.
    """

    pixels: Tensor
    reference: Tensor | None = None
    scores: tuple[float, ...] | None = None
    chosen: int | None = None
    back: Back = unchanged

    @property
    def image(self) -> Any:
        """The result, of the kind of the input."""
        return self.back(self.pixels)

    def split(self) -> list[Upscaled]:
        """The same for each picture of a batch."""
        count = len(self.pixels)
        if count == 1:
            return [self]
        return [
            replace(
                self,
                pixels=self.pixels[index : index + 1],
                reference=None if self.reference is None else self.reference[index::count],
            )
            for index in range(count)
        ]


def pixels_of(image: Any) -> tuple[Tensor, Back]:
    """Pixels `(B, 3, H, W)`, and a function from enlarged pixels to a picture of the same kind.

    Raises `InputError` where it is no picture.
    """
    if isinstance(image, Tensor):
        if image.dim() == 3:
            return image[None], lambda pixels: pixels[0]
        return image, unchanged
    decoded = opened(image)
    if decoded is None:
        kind = type(image).__name__
        hint = "give a tensor, a NumPy array, a PIL image or a Photo; for files, use upscale_file"
        raise InputError(f"{kind} is no picture", hint)
    pixels, back = decoded
    return torch.from_numpy(pixels), lambda enlarged: back(enlarged.numpy())


def mask_of(image: Any) -> Tensor | None:
    """A mask `(1, 1, H, W)`, uint8 or float in [0, 1], of a tensor, a NumPy array or a PIL image.

    Raises `InputError` where it is not grey.
    """
    if image is None:
        return None
    if isinstance(image, Tensor):
        return require_mask(image)
    if getattr(image, "mode", "L") != "L":
        raise InputError(f"a mask of mode {image.mode}", "convert it to L")
    return require_mask(torch.from_numpy(np.array(image)))


def upscaled_each(
    images: Sequence[Any], upscale: Callable[[Tensor], Upscaled], limit: Callable[[Tensor], int]
) -> list[Upscaled]:
    """A result per picture; pictures of one size are enlarged together, at most `limit` of the
    first.
    """
    opened = [pixels_of(each) for each in images]
    groups: dict[torch.Size, list[int]] = {}
    for index, (pixels, _) in enumerate(opened):
        groups.setdefault(pixels.shape, []).append(index)
    results: dict[int, Upscaled] = {}
    for shape, group in groups.items():
        size = limit(opened[group[0]][0]) if shape[0] == 1 else 1
        for begin in range(0, len(group), size):
            indices = group[begin : begin + size]
            result = upscale(torch.cat([opened[index][0] for index in indices]))
            results |= zip(indices, result.split() if size > 1 else [result], strict=True)
    return [replace(results[index], back=back) for index, (_, back) in enumerate(opened)]


def chosen(settings: Settings | None, choices: dict[str, Any]) -> Settings:
    """Settings with some fields replaced. Raises `UsageError` that names the fields there are."""
    names = [each.name for each in fields(Settings)]
    for name in choices:
        if name not in names:
            raise UsageError(f"there is no setting {name!r}", f"use {', '.join(names)}")
    return replace(settings or Settings(), **choices)
