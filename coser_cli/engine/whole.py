"""One picture, or several of one size, through all stages in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from coser_cli.engine import stages
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.conditions import with_conditions
from coser_cli.engine.images import Image, Upscaled
from coser_cli.engine.preparation import LowRes
from coser_cli.engine.progress import Progress, steps_of
from coser_cli.engine.reference import (
    Candidates,
    References,
    choose_latents,
    require_single,
    score,
)
from coser_cli.engine.settings_check import is_guided
from coser_cli.settings import ResolvedSettings


def upscale(
    runtime: Runtime,
    pixels: Tensor,
    settings: ResolvedSettings,
    on_progress: Progress,
    want_reference: bool,
    references: Sequence[Tensor],
    mask: Tensor | None,
    conditions: Mapping[str, Image],
) -> Upscaled:
    """The result for pixels `(B, 3, H, W)`, with `references` `(1, 3, …)`, a mask `(1, 1, …)` of
    any size, and pictures of further `conditions` by name. Raises what `Upscaler.upscale` raises.
    """
    if settings.reference_select == "clip":
        require_single(pixels)

    def run(runtime: Runtime) -> Upscaled:
        low_res = replace(stages.prepare(runtime, pixels, settings), mask=mask)
        if conditions:
            low_res = with_conditions(runtime.model, low_res, conditions, settings)
        on_progress("prepare", 1, 1)
        selected: References[Tensor] | None
        if references and runtime.model.config.align_references:
            alone = replace(settings, reference_mode="none")
            latents, _ = _diffuse(runtime, low_res, alone, on_progress, False, ())
            decoded = stages.decoded(runtime, latents, low_res, settings)
            aligned, selected = stages.align(runtime, references, decoded, low_res, settings)
            result = stages.finish(aligned, low_res, settings)
        else:
            latents, selected = _diffuse(
                runtime, low_res, settings, on_progress, want_reference, references
            )
            result = stages.decode(runtime, latents, low_res, settings)
        pictures = None
        if selected is not None and want_reference:
            pictures = selected.picture
            if pictures is None:
                pictures = stages.decode_reference(runtime, torch.cat([*selected.latents]), low_res)
        on_progress("decode", 1, 1)
        scores = (None, None) if selected is None else (selected.scores, selected.chosen)
        return Upscaled(result, pictures, *scores)

    if len(pixels) > 1:  # what goes wrong with one of them must not change the others
        with runtime.computing():
            return run(runtime)
    return runtime.run(run)


def candidates(
    runtime: Runtime, pixels: Tensor, settings: ResolvedSettings, on_progress: Progress
) -> Candidates:
    """All references that would be imagined for pixels `(1, 3, H, W)`, with their scores."""
    require_single(pixels)

    def run(runtime: Runtime) -> Candidates:
        low_res = stages.prepare(runtime, pixels, settings)
        on_progress("prepare", 1, 1)
        cognition = stages.understand(runtime, low_res, settings)
        on_progress("understand", 1, 1)
        steps = steps_of(on_progress, "imagine")
        latents = stages.imagine(runtime, low_res, cognition, settings, on_step=steps)
        pictures = stages.decode_reference(runtime, latents, low_res)
        scores = score(runtime.model, pictures, low_res) if len(pictures) > 1 else None
        on_progress("decode", 1, 1)
        return Candidates(pictures, scores)

    return runtime.run(run)


def _diffuse(
    runtime: Runtime,
    low_res: LowRes,
    settings: ResolvedSettings,
    on_progress: Progress,
    want_reference: bool,
    pictures: Sequence[Tensor],
) -> tuple[Tensor | None, References[Tensor] | None]:
    """Latents of the result, and references if used or wanted: stages 2 to 4 as needed."""
    if settings.strength == 0 and not want_reference:
        return None, None
    cognition = stages.understand(runtime, low_res, settings)
    on_progress("understand", 1, 1)
    references, guided = None, is_guided(settings, bool(pictures))
    if want_reference or guided:
        if pictures:
            latents = stages.import_references(runtime, pictures, low_res)
        else:
            steps = steps_of(on_progress, "imagine")
            latents = stages.imagine(runtime, low_res, cognition, settings, on_step=steps)
        select = settings.reference_select
        references = choose_latents(runtime.model, latents, low_res, select)
    hint = torch.cat([*references.latents]) if references is not None and guided else None
    steps = steps_of(on_progress, "restore")
    result = stages.restore(runtime, low_res, cognition, hint, settings, on_step=steps)
    return result, references
