"""Latents of the pictures of further conditions, such as edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from coser_cli.engine.images import Image, pixels_of
from coser_cli.engine.preparation import LowRes, require_picture
from coser_cli.engine.reference import encode
from coser_cli.engine.settings_check import require_conditions

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.settings import ResolvedSettings


def with_conditions(
    model: CoSeR, low_res: LowRes, pictures: Mapping[str, Image], settings: ResolvedSettings
) -> LowRes:
    """`low_res` with the latents of these pictures, placed into its frame like references. Without
    diffusion they are not used. Raises `UsageError`, `InputError`.
    """
    require_conditions(model.config, pictures)
    if not settings.strength:
        return low_res
    latents = {}
    for name, image in pictures.items():
        pixels = pixels_of(image)[0]
        require_picture(pixels)
        each = encode(model, [pixels], low_res)
        latents[name] = each.expand(len(low_res.latents), -1, -1, -1)
    return replace(low_res, conditions=latents)
