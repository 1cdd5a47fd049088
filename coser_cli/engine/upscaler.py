"""`Upscaler`: one picture in, one picture out, in stages that can be called one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from coser_cli.engine import decoding, preparation
from coser_cli.engine.device import (
    available_memory,
    choose_device,
    choose_dtype,
    choose_offload,
    memory_errors_named,
    require_memory,
)
from coser_cli.engine.preparation import LowRes
from coser_cli.engine.progress import Progress, silent, tqdm_progress
from coser_cli.engine.retry import NotFiniteError, free_cache, require_finite
from coser_cli.errors import UsageError
from coser_cli.models.residency import STAGES
from coser_cli.sampling import (
    Draw,
    OnStep,
    Walk,
    add_noise,
    make_scheduler,
    seeded_noise,
)
from coser_cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coser_cli.engine.cognition import Cognition
    from coser_cli.models.build import CoSeR

AMPLE = 8 * 2**30
"""Free bytes on an accelerator from which on networks that are used once per picture stay there."""
Made = TypeVar("Made")

__all__ = ["LowRes", "Progress", "Upscaled", "Upscaler"]


@dataclass(frozen=True)
class Upscaled:
    """The result `(1, 3, round(H·s), round(W·s))` in [0, 1], float32 on the CPU, and, if it was
    wanted, the reference of the same size."""

    pixels: Tensor
    reference: Tensor | None = None


class Upscaler:
    """CoSeR for single pictures.

    `upscale` does everything; `prepare`, `understand`, `imagine`, `restore` and `decode` are its
    stages. Pixels are `(1, 3, H, W)` float RGB in [0, 1], latents `(1, 4, h, w)`. The same seed
    gives the same noise on every device. Networks are loaded when first needed. `note` says in a
    line what was given up for want of memory, if anything was.
    """

    def __init__(
        self, model: CoSeR, device: torch.device, dtype: torch.dtype, note: str = ""
    ) -> None:
        self.model = model
        self.device = device
        self.dtype = dtype
        self.note = note
        self._texts: dict[str, Tensor] = {}

    @classmethod
    def load(
        cls,
        model: str | Path = "auto",
        *,
        device: str = "auto",
        dtype: str = "auto",
        offload: str = "auto",
        low_memory: bool = False,
    ) -> Upscaler:
        """An upscaler with the installed model of that name or in that folder.

        "auto": `sd21` if installed, else the bundled `mini`. `offload` as `settings.Offload`;
        `low_memory` streams the weights from their files and keeps nothing that can be read again.
        Raises `WeightsError`, `DeviceError`, `UsageError`.
        """
        from coser_cli.models.build import load_model, part_sizes
        from coser_cli.weights.store import model_folder

        if low_memory and offload in ("none", "model"):
            raise UsageError(f"low memory is more than offload {offload}", "leave one of them out")
        where, folder = choose_device(device), model_folder(model)
        precision = choose_dtype(dtype, where)
        wanted = "sequential" if low_memory else offload
        chosen, note = choose_offload(wanted, part_sizes(folder, precision), where)
        loaded = load_model(folder, where, precision, offload=chosen, low_memory=low_memory)
        return cls(loaded, where, precision, note)

    @property
    def low_memory(self) -> bool:
        """Whether memory goes before time wherever there is a choice."""
        return self.model.placement.low_memory

    def in_float32(self) -> Upscaler:
        """The same in float32; the networks of this one are dropped, and read again if needed."""
        if self.model.reload is None:
            raise NotFiniteError("the model cannot be loaded again", "use --dtype float32")
        self.model.forget()
        self._texts.clear()
        return Upscaler(self.model.reload(torch.float32), self.device, torch.float32)

    def upscale(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        *,
        on_progress: Progress | None = None,
        progress: bool = False,
        want_reference: bool = False,
    ) -> Upscaled:
        """Enlarge pixels `(1, 3, H, W)`, any size from 1 × 1, to exactly `round(side·scale)`.

        `on_progress(stage, done, total)` is told how far it is; `progress` shows tqdm bars
        instead. With `strength` 0 nothing is imagined, and no diffusion network is loaded, unless
        `want_reference` asks for the reference all the same. What exceeds the range of a smaller
        dtype is done again in float32. Raises `InputError`, `DeviceError`.
        """
        settings = self._complete(settings)
        tell = on_progress or (tqdm_progress() if progress else silent)

        def run(upscaler: Upscaler) -> Upscaled:
            low_res = upscaler.prepare(pixels, settings)
            tell("prepare", 1, 1)
            latents, reference = upscaler._diffuse(low_res, settings, tell, want_reference)
            result = upscaler.decode(latents, low_res, settings)
            picture = None if reference is None else upscaler.decode_reference(reference, low_res)
            tell("decode", 1, 1)
            return Upscaled(result, picture)

        return self._run(run)

    def reference(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Tensor:
        """The reference picture alone of pixels `(1, 3, H, W)`: as large as the result would be, in
        [0, 1], float32 on the CPU. Raises what `upscale` raises.
        """
        settings = self._complete(settings)
        tell = on_progress or silent

        def run(upscaler: Upscaler) -> Tensor:
            low_res = upscaler.prepare(pixels, settings)
            tell("prepare", 1, 1)
            cognition = upscaler.understand(low_res, settings)
            tell("understand", 1, 1)
            steps = _steps(tell, "imagine")
            latents = upscaler.imagine(low_res, cognition, settings, on_step=steps)
            picture = upscaler.decode_reference(latents, low_res)
            tell("decode", 1, 1)
            return picture

        return self._run(run)

    @torch.inference_mode()
    def prepare(self, pixels: Tensor, settings: Settings | None = None) -> LowRes:
        """Stage 1: check, enlarge, pad and encode pixels `(1, 3, H, W)`."""
        settings = self._complete(settings)
        preparation.require_picture(pixels)
        size = pixels.shape[-2], pixels.shape[-1]
        stages = STAGES if settings.strength else ("prepare", "decode")
        weights = self.model.pending(stages)
        require_memory(self.model.config, size, settings.scale, self.dtype, self.device, weights)
        self._enter("prepare")
        pixels = pixels.to(self.device, self.dtype)
        return preparation.prepare(self.model, pixels, settings.scale)

    @torch.inference_mode()
    def understand(self, low_res: LowRes, settings: Settings | None = None) -> Cognition:
        """Stage 2: the cognitive embedding of the picture, and the embeddings of both prompts."""
        from coser_cli.engine.cognition import understand

        settings = self._complete(settings)
        assert settings.negative_prompt is not None
        self._enter("understand")
        pre_restored = low_res.pre_restored
        if pre_restored is None:
            pre_restored = self.model.srresnet(low_res.pixels)
        texts = self._text(settings.prompt), self._text(settings.negative_prompt)
        return understand(self.model, pre_restored, *texts)

    @torch.inference_mode()
    def imagine(
        self,
        low_res: LowRes,
        cognition: Cognition,
        settings: Settings | None = None,
        *,
        draw: Draw | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Stage 3: the latents `(1, 4, h, w)` of a reference picture, from the noised input.

        `draw` replaces the seeded noise. With `reference_strength` 0 it is the input itself.
        """
        from coser_cli.engine.reference import imagine

        settings = self._complete(settings)
        strength, guidance = settings.reference_strength, settings.reference_guidance_scale
        if not strength:
            return low_res.latents
        self._enter("sample")
        walk, start = self._walk("imagine", strength, guidance, low_res, settings, draw, on_step)
        return imagine(self.model, cognition, start, walk)

    @torch.inference_mode()
    def restore(
        self,
        low_res: LowRes,
        cognition: Cognition,
        reference: Tensor | None,
        settings: Settings | None = None,
        *,
        draw: Draw | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Stage 4: the latents `(1, 4, h, w)` of the result, from the same noised input as the
        reference.

        `reference` latents `(1, 4, h, w)`; None leaves the reference attention out. With
        `strength` 0 it is the input.
        """
        from coser_cli.engine.restoration import with_controls

        settings = self._complete(settings)
        strength, guidance = settings.strength, settings.guidance_scale
        if not strength:
            return low_res.latents
        self._enter("sample")
        walk, start = self._walk("restore", strength, guidance, low_res, settings, draw, on_step)
        hints = low_res.latents, reference
        return walk(with_controls(self.model, cognition, walk.guided, *hints), start)

    @torch.inference_mode()
    def decode(self, latents: Tensor, low_res: LowRes, settings: Settings | None = None) -> Tensor:
        """Stage 5: pixels `(1, 3, *low_res.size)` in [0, 1], float32 on the CPU.

        Raises `DeviceError` where they are not finite.
        """
        settings = self._complete(settings)
        assert settings.fidelity is not None and settings.color_fix is not None
        self._enter("decode")
        pixels = require_finite(decoding.decode(self.model, latents, low_res, settings.fidelity))
        return decoding.finish(pixels, low_res, settings.color_fix).cpu()

    @torch.inference_mode()
    def decode_reference(self, latents: Tensor, low_res: LowRes) -> Tensor:
        """The reference as a picture, `(1, 3, *low_res.size)`: what the VAE alone makes of it."""
        self._enter("decode")
        pixels = require_finite(
            self.model.autoencoder.decode(latents.to(self.dtype)).float(), what="reference"
        )
        return decoding.finish(pixels, low_res, "none").cpu()

    def _run(self, run: Callable[[Upscaler], Made]) -> Made:
        """What `run(self)` makes, or the same in float32 where this dtype's range is exceeded."""
        with memory_errors_named(self.device):
            try:
                return run(self)
            except NotFiniteError:
                if self.dtype.itemsize >= torch.float32.itemsize or self.model.reload is None:
                    raise
            # the error is gone, and with it the frames that held what was computed
            return run(self.in_float32())

    def _enter(self, stage: str) -> None:
        """Let the networks leave the device that the stage does not use, as they are placed."""
        accelerator = self.device.type != "cpu"
        free = available_memory(self.device) if accelerator and stage == "sample" else None
        self.model.enter(stage, tight=free is not None and free < AMPLE)
        if self.model.placement.offload != "none":
            free_cache(self.device)

    def _diffuse(
        self, low_res: LowRes, settings: Settings, tell: Progress, want_reference: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Latents of the result and, if wanted, of the reference: stages 2 to 4 as needed."""
        if settings.strength == 0 and not want_reference:
            return low_res.latents, None
        cognition = self.understand(low_res, settings)
        tell("understand", 1, 1)
        reference, guided_by = None, settings.strength != 0 and settings.reference_mode != "none"
        if want_reference or guided_by:
            steps = _steps(tell, "imagine")
            reference = self.imagine(low_res, cognition, settings, on_step=steps)
        hint = reference if guided_by else None
        steps = _steps(tell, "restore")
        latents = self.restore(low_res, cognition, hint, settings, on_step=steps)
        return latents, reference if want_reference else None

    def _walk(
        self,
        stream: str,
        strength: float,
        guidance_scale: float | None,
        low_res: LowRes,
        settings: Settings,
        draw: Draw | None,
        on_step: OnStep | None,
    ) -> tuple[Walk, Tensor]:
        """How to sample, and the start: both passes share its noise, as published."""
        assert settings.sampler and settings.steps and guidance_scale
        schedule, latents = self.model.config.schedule, low_res.latents
        draw = draw or seeded_noise(settings.seed, latents.shape)
        sampler = make_scheduler(settings.sampler, schedule, settings.steps, strength)
        walk = Walk(sampler, guidance_scale, partial(draw, stream), on_step)
        return walk, add_noise(latents, draw("start", 0).to(latents), schedule, sampler.start)

    def _complete(self, settings: Settings | None) -> Settings:
        return (settings or Settings()).with_defaults(self.model.config.defaults)

    def _text(self, prompt: str) -> Tensor:
        """Embedding `(1, L, C)` of a prompt; computed once per model."""
        if prompt not in self._texts:
            self._texts[prompt] = self.model.text.encode([prompt])
        return self._texts[prompt]


def _steps(tell: Progress, stage: str) -> OnStep:
    return lambda done, total, _: tell(stage, done, total)
