"""Several small pictures of one size made at once, as each would be alone."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from coser_cli.batch.picture import Made, Making


def batch_key(making: Making) -> Hashable | None:
    """What pictures that share a batch have in common; None for one that is made by itself: in
    tiles, or with references that it chooses."""
    if making.job.kind != "upscale" or making.only_compares or making.work.request.batch_size == 1:
        return None
    if making.settings.reference_select == "clip" or making.why_tiled() is not None:
        return None
    return making.photo.size, making.settings, making.want_reference


def batch_size(making: Making) -> int:
    """How many pictures like this one, which has a key, are made at once."""
    if making.work.request.batch_size is not None:
        return making.work.request.batch_size
    width, height = making.photo.size
    return making.upscaler.batch_limit((height, width), making.settings)


def make_together(makings: Sequence[Making]) -> list[Made] | None:
    """Make pictures that have one key; None where that failed, and each is to be made by itself.

    So a picture that cannot be made does not take the others of its batch with it.
    """
    import torch

    first = makings[0]
    pixels = torch.from_numpy(np.stack([each.photo.pixels for each in makings]))
    try:
        made = first.upscaler.upscale(
            pixels,
            first.settings,
            on_progress=first.tell,
            want_reference=first.want_reference,
            references=[torch.from_numpy(each.pixels)[None] for each in first.work.references],
        )
        return [each.made(part) for each, part in zip(makings, made.split(), strict=True)]
    except Exception:  # whatever it is, it shows again where it belongs
        if os.environ.get("COSER_DEBUG"):
            raise
        return None
