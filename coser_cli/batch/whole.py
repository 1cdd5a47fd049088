"""Pictures that are done whole, in memory: one, or several small ones of one size at once."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from coser_cli.batch.output import Outputs, PictureInMemory
from coser_cli.batch.results import Result
from coser_cli.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from coser_cli.batch.picture import LoadedJob
    from coser_cli.engine.images import Upscaled
    from coser_cli.imageio.photo import FloatArray


def upscale_whole(loaded: LoadedJob) -> Outputs:
    """The pictures of one job."""
    import torch

    if loaded.job.kind == "upscale":
        return _outputs(loaded, _upscaled([loaded]))
    pixels = torch.from_numpy(loaded.photo.pixels)[None]
    candidates = loaded.upscaler.candidates(pixels, loaded.settings, loaded.progress)
    result = Result(loaded.job, "done", scores=candidates.scores)
    return Outputs(result, references=_pictures(candidates.pictures))


def batch_key(loaded: LoadedJob) -> Hashable | None:
    """The key of pictures that may share a batch; None for one that is processed by itself: in
    tiles, with a mask or a condition, or where references are selected.
    """
    if loaded.job.kind != "upscale" or loaded.only_compares or loaded.work.request.batch_size == 1:
        return None
    if loaded.mask is not None or loaded.conditions:
        return None
    if loaded.settings.reference_select == "clip" or loaded.why_tiled() is not None:
        return None
    return loaded.photo.size, loaded.settings, loaded.want_reference


def batch_size(loaded: LoadedJob) -> int:
    """How many pictures like this one, which has a key, are done at once."""
    if loaded.work.request.batch_size is not None:
        return loaded.work.request.batch_size
    return loaded.upscaler.runtime.batch_limit(loaded.photo.size, loaded.settings)


def upscale_together(jobs: Sequence[LoadedJob]) -> list[Outputs] | None:
    """The pictures of jobs that have one key; None where that failed, and each is to be done by
    itself. So a picture that fails does not take the others of its batch with it.
    """
    try:
        parts = _upscaled(jobs).split()
        return [_outputs(loaded, part) for loaded, part in zip(jobs, parts, strict=True)]
    except Exception:  # whatever it is, it shows again where it belongs
        if os.environ.get("COSER_DEBUG"):
            raise
        return None


def _upscaled(jobs: Sequence[LoadedJob]) -> Upscaled:
    import torch

    first = jobs[0]
    return first.upscaler.upscale(
        torch.from_numpy(np.stack([each.photo.pixels for each in jobs])),
        first.settings,
        on_progress=first.progress,
        want_reference=first.want_reference,
        references=[torch.from_numpy(each.pixels)[None] for each in first.work.references],
        mask=first.mask,
        conditions={
            name: torch.from_numpy(each.pixels)[None] for name, each in first.conditions.items()
        },
    )


def _outputs(loaded: LoadedJob, upscaled: Upscaled) -> Outputs:
    references = () if upscaled.reference is None else _pictures(upscaled.reference)
    result = Result(loaded.job, "done", scores=upscaled.scores, chosen=upscaled.chosen)
    return Outputs(result, _pictures(upscaled.pixels)[0], references)


def _pictures(pixels: Tensor) -> list[PictureInMemory]:
    """One per picture of `(N, 3, H, W)`. Raises `InputError` where a value is not a number."""
    values: FloatArray = pixels.detach().float().cpu().numpy()
    if not bool((values == values).all()):
        raise InputError("the network's result is not a number somewhere", "use --dtype float32")
    return [PictureInMemory(each) for each in values]
