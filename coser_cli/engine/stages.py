"""The five stages of one picture, on the networks of a `Runtime`.

Pixels are `(B, 3, H, W)` float RGB in [0, 1], latents `(B, 4, h, w)`. Plain `Settings` will do
wherever settings are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.engine import decoding, preparation, reference
from coser_cli.engine.compute.memory import require_memory
from coser_cli.engine.compute.retry import require_finite
from coser_cli.engine.compute.runtime import Runtime, stage
from coser_cli.engine.passes import imagining, restoring
from coser_cli.engine.preparation import LowRes, require_picture
from coser_cli.engine.progress import part_of
from coser_cli.engine.reference import References, draw_of, encode
from coser_cli.engine.settings_check import decodes
from coser_cli.sampling.noise import seeded_noise, to_device
from coser_cli.sampling.types import Draw, OnStep
from coser_cli.settings import ResolvedSettings
from coser_cli.size import Size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coser_cli.engine.cognition import Cognition


@stage
def prepare(runtime: Runtime, pixels: Tensor, settings: ResolvedSettings) -> LowRes:
    """Stage 1: check, enlarge and pad pixels `(B, 3, H, W)`; encode what will be decoded."""
    require_picture(pixels)
    size = Size.of(pixels)
    demand = runtime.pending(settings), len(pixels)
    how = runtime.picture_dtype, runtime.device
    require_memory(runtime.model.config, size, settings.scale, *how, *demand)
    runtime.enter("prepare")
    pixels = to_device(pixels, runtime.device).to(runtime.picture_dtype)
    low_res = preparation.prepare(runtime.model, pixels, settings.scale)
    if decodes(settings, runtime.model.config):
        low_res.encode()
    return low_res


@stage
def understand(runtime: Runtime, low_res: LowRes, settings: ResolvedSettings) -> Cognition:
    """Stage 2: the cognitive embedding of the picture, and the embeddings of both prompts."""
    low_res.encode()  # while the autoencoder may be here: what follows starts from latents
    runtime.enter("understand")
    pre_restored = low_res.pre_restored
    if pre_restored is None:
        pre_restored = runtime.model.srresnet(low_res.pixels)
    return cognition_of(runtime, pre_restored, settings)


@stage
def cognition_of(runtime: Runtime, pre_restored: Tensor, settings: ResolvedSettings) -> Cognition:
    """`understand` of what the SRResNet made of pictures, `(B, 3, H, W)` of any size."""
    from coser_cli.engine.cognition import understand

    runtime.enter("understand")
    unguided = runtime.model.config.one_step is not None  # one step has no negative branch
    negative = settings.prompt if unguided else settings.negative_prompt
    texts = runtime.text(settings.prompt), runtime.text(negative)
    cognition = understand(runtime.model, pre_restored.to(runtime.device, runtime.dtype), *texts)
    require_finite(cognition.embedding, what="cognitive embedding")
    return cognition


@stage
def imagine(
    runtime: Runtime,
    low_res: LowRes,
    cognition: Cognition,
    settings: ResolvedSettings,
    *,
    draw: Draw | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Stage 3: the latents `(N·B, 4, h, w)`, reference-major, of `settings.references` pictures,
    each from the input with noise of its own.

    They are imagined one after the other, so the first is the same among any number of them;
    `on_step` counts the steps of all. `draw` replaces the seeded noise. With `reference_strength` 0
    each is the input itself.
    """
    from coser_cli.engine.reference import imagine

    count = settings.references
    if not settings.reference_strength:
        return low_res.latents.repeat(count, 1, 1, 1)
    runtime.enter("sample")
    draw = draw or seeded_noise(settings.seed, low_res.latents.shape)
    how = imagining(settings, runtime.model.config)
    different = count if how.noised else 1
    imagined = [
        imagine(
            runtime.model,
            cognition,
            low_res.latents,
            how,
            draw_of(index, draw),
            on_step and part_of(on_step, index, different),
        )
        for index in range(different)
    ]
    latents = torch.cat(imagined).repeat(count // different, 1, 1, 1)
    return require_finite(latents, what="reference")


@stage
def import_references(runtime: Runtime, pictures: Sequence[Tensor], low_res: LowRes) -> Tensor:
    """Instead of stage 3: the latents `(N·B, 4, h, w)` of pictures `(1, 3, H, W)` in [0, 1].

    Each is resized to the frame of the result; where its aspect ratio is another (by more than
    2 %), it covers the frame and is cut on both sides alike. Raises `InputError`.
    """
    for picture in pictures:
        require_picture(picture)
    runtime.enter("decode")
    latents = encode(runtime.model, pictures, low_res)
    return latents.repeat_interleave(len(low_res.latents), 0)


@stage
def align(
    runtime: Runtime,
    pictures: Sequence[Tensor],
    pixels: Tensor,
    low_res: LowRes,
    settings: ResolvedSettings,
) -> tuple[Tensor, References[Tensor]]:
    """For models that align references: `decoded` pixels with what pictures `(1, 3, H, W)` in
    [0, 1] know better (see `reference.align`). Raises `InputError`.
    """
    for picture in pictures:
        require_picture(picture)
    runtime.enter("prepare")
    return reference.align(runtime.model, pictures, pixels, low_res, settings)


@stage
def restore(
    runtime: Runtime,
    low_res: LowRes,
    cognition: Cognition,
    reference: Tensor | None,
    settings: ResolvedSettings,
    *,
    draw: Draw | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Stage 4: the latents `(B, 4, h, w)` of the result, from the same noised input as the
    reference; of a one-step model, from the input without noise.

    `reference` latents `(N·B, 4, h, w)`: each place attends to the most similar among all N; None
    leaves the reference attention out. With `strength` 0 the result is the input.
    """
    from coser_cli.engine.restoration import restorer_of

    if not settings.strength:
        return low_res.latents
    runtime.enter("sample")
    draw = draw or seeded_noise(settings.seed, low_res.latents.shape)
    how = restoring(settings, runtime.model.config)
    restorer = restorer_of(runtime.model, cognition, how, low_res, reference)
    schedule = runtime.model.config.schedule
    latents = how.sample(restorer, low_res.latents, schedule, draw, on_step)
    return require_finite(latents, what="latents of the result")


@stage
def decode(
    runtime: Runtime, latents: Tensor | None, low_res: LowRes, settings: ResolvedSettings
) -> Tensor:
    """Stage 5: pixels `(B, 3, *low_res.target.hw)` in [0, 1], float32 on the CPU; `latents` None:
    those of the input.

    Raises `DeviceError` where they are not finite.
    """
    return finish(decoded(runtime, latents, low_res, settings), low_res, settings)


@stage
def decoded(
    runtime: Runtime, latents: Tensor | None, low_res: LowRes, settings: ResolvedSettings
) -> Tensor:
    """The first part of stage 5: pixels of the padded size, not clamped. Raises `DeviceError`
    where they are not finite.
    """
    runtime.enter("decode")
    pixels = decoding.decode_result(runtime.model, latents, low_res, settings)
    return require_finite(pixels)


def finish(pixels: Tensor, low_res: LowRes, settings: ResolvedSettings) -> Tensor:
    """The rest of stage 5."""
    return decoding.finish_result(pixels, low_res, settings.color_fix)


@stage
def decode_reference(runtime: Runtime, latents: Tensor, low_res: LowRes) -> Tensor:
    """References as pictures, `(N, 3, *low_res.target.hw)`: what the VAE alone makes of latents
    `(N, 4, h, w)`, one at a time.
    """
    runtime.enter("decode")
    pictures = decoding.decode_references(runtime.model, latents, low_res)
    return require_finite(pictures, what="reference")
