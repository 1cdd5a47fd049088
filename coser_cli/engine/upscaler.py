"""`Upscaler`: one picture in, one picture out, in stages that can be called one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from coser_cli.engine import decoding, preparation
from coser_cli.engine.compute.memory import require_memory
from coser_cli.engine.compute.retry import require_finite
from coser_cli.engine.compute.runtime import Runtime, stage
from coser_cli.engine.conditions import with_conditions
from coser_cli.engine.images import Image, Upscaled, chosen, mask_of, pixels_of, upscaled_each
from coser_cli.engine.passes import imagining, restoring
from coser_cli.engine.preparation import LowRes, require_picture
from coser_cli.engine.progress import Progress, part_of, silent, steps_of, tqdm_progress
from coser_cli.engine.reference import (
    Candidates,
    References,
    choose_latents,
    draw_of,
    encode,
    require_single,
    score,
)
from coser_cli.engine.settings_check import is_guided
from coser_cli.sampling.noise import seeded_noise, to_device
from coser_cli.sampling.types import Draw, OnStep
from coser_cli.settings import ResolvedSettings, Settings
from coser_cli.size import Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coser_cli.engine.cognition import Cognition

__all__ = ["LowRes", "Progress", "Upscaled", "Upscaler"]


class Upscaler(Runtime):
    """CoSeR for single pictures, or several of one size at once.

    `upscale` does everything; `prepare`, `understand`, `imagine`, `restore` and `decode` are its
    stages. Pixels are `(B, 3, H, W)` float RGB in [0, 1], latents `(B, 4, h, w)`. The same seed
    gives the same noise on every device, and to each picture of a batch that of a single one.
    """

    def __call__(self, image: Image | Sequence[Image], *values: Any, **options: Any) -> Any:
        """Enlarge a picture, or a list of them, and return the same kind; as `upscale`."""
        result = self.upscale(image, *values, **options)
        return [each.image for each in result] if isinstance(result, list) else result.image

    @overload
    def upscale(
        self, image: Image, settings: Settings | None = None, **options: Any
    ) -> Upscaled: ...

    @overload
    def upscale(
        self, image: Sequence[Image], settings: Settings | None = None, **options: Any
    ) -> list[Upscaled]: ...

    def upscale(
        self,
        image: Image | Sequence[Image],
        settings: Settings | None = None,
        *,
        on_progress: Progress | None = None,
        progress: bool = False,
        want_reference: bool = False,
        references: Sequence[Image] = (),
        mask: Image | None = None,
        conditions: Mapping[str, Image] | None = None,
        **choices: Any,
    ) -> Upscaled | list[Upscaled]:
        """Enlarge pixels `(B, 3, H, W)`, any size from 1 × 1, to exactly `round(side·scale)`; or
        another kind of picture (see `images.Image`), which `image` of the result is, too. A list
        gives a list; those of one size are enlarged at once where that is faster.

        `choices` are fields of the settings, as in `scale=2`. `references`, pictures of any sizes,
        are taken instead of imagined ones. Of a grey `mask` of any size, white is restored and
        black is bicubic (`mask.py`). `conditions` are pictures of the model's further conditions
        by name. `on_progress(stage, done, total)` is told how far it is;
        `progress` shows tqdm bars instead. With `strength` 0 nothing is imagined, and no diffusion
        network is loaded, unless `want_reference` asks for the reference all the same. What exceeds
        the range of a smaller dtype is done again in float32; of several pictures, by the caller,
        one by one. Raises `InputError`, `DeviceError`, and `UsageError` for settings.
        """
        resolved = self.resolve(chosen(settings, choices))
        tell = on_progress or (tqdm_progress() if progress else silent)
        guides = [pixels_of(each)[0] for each in references]
        more = resolved, tell, want_reference, guides, mask_of(mask), conditions or {}
        if not isinstance(image, list | tuple):
            pixels, back = pixels_of(image)
            return replace(self._upscale(pixels, *more), back=back)

        def limit(pixels: Tensor) -> int:
            if resolved.reference_select == "clip":
                return 1
            return self.batch_limit(Size.of(pixels), resolved)

        return upscaled_each(image, lambda pixels: self._upscale(pixels, *more), limit)

    def _upscale(
        self,
        pixels: Tensor,
        settings: ResolvedSettings,
        tell: Progress,
        want_reference: bool,
        references: Sequence[Tensor],
        mask: Tensor | None,
        conditions: Mapping[str, Image],
    ) -> Upscaled:
        if settings.reference_select == "clip":
            require_single(pixels)

        def run(upscaler: Upscaler) -> Upscaled:
            low_res = replace(upscaler.prepare(pixels, settings), mask=mask)
            low_res = with_conditions(upscaler.model, low_res, conditions, settings)
            tell("prepare", 1, 1)
            latents, guides = upscaler._diffuse(low_res, settings, tell, want_reference, references)
            result = upscaler.decode(latents, low_res, settings)
            pictures = None
            if guides is not None and want_reference:
                pictures = upscaler.decode_reference(torch.cat([*guides.latents]), low_res)
            tell("decode", 1, 1)
            scores = (None, None) if guides is None else (guides.scores, guides.chosen)
            return Upscaled(result, pictures, *scores)

        if len(pixels) > 1:  # what goes wrong with one of them must not change the others
            with self.computing():
                return run(self)
        return self.run(run)

    def reference(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Tensor:
        """The reference alone of pixels `(1, 3, H, W)`, `(N, 3, …)`: as large as the result would
        be, in [0, 1], float32 on the CPU. Raises what `upscale` raises.
        """
        found = self.candidates(pixels, settings, on_progress)
        chosen = settings is not None and settings.reference_select == "clip"
        return found.nearest() if chosen else found.pictures

    def candidates(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Candidates:
        """All references that would be imagined for pixels `(1, 3, H, W)`, with their scores.
        Raises what `upscale` raises.
        """
        settings = self.resolve(settings)
        require_single(pixels)
        tell = on_progress or silent

        def run(upscaler: Upscaler) -> Candidates:
            low_res = upscaler.prepare(pixels, settings)
            tell("prepare", 1, 1)
            cognition = upscaler.understand(low_res, settings)
            tell("understand", 1, 1)
            steps = steps_of(tell, "imagine")
            latents = upscaler.imagine(low_res, cognition, settings, on_step=steps)
            pictures = upscaler.decode_reference(latents, low_res)
            scores = score(upscaler.model, pictures, low_res) if len(pictures) > 1 else None
            tell("decode", 1, 1)
            return Candidates(pictures, scores)

        return self.run(run)

    @stage
    def prepare(self, pixels: Tensor, settings: ResolvedSettings) -> LowRes:
        """Stage 1: check, enlarge, pad and encode pixels `(B, 3, H, W)`."""
        require_picture(pixels)
        size = Size.of(pixels)
        taken = self.pending(settings), len(pixels)
        how = self.picture_dtype, self.device
        require_memory(self.model.config, size, settings.scale, *how, *taken)
        self.enter("prepare")
        pixels = to_device(pixels, self.device).to(self.picture_dtype)
        low_res = preparation.prepare(self.model, pixels, settings.scale)
        require_finite(low_res.latents, what="latents of the input")
        return low_res

    @stage
    def understand(self, low_res: LowRes, settings: ResolvedSettings) -> Cognition:
        """Stage 2: the cognitive embedding of the picture, and the embeddings of both prompts."""
        self.enter("understand")
        pre_restored = low_res.pre_restored
        if pre_restored is None:
            pre_restored = self.model.srresnet(low_res.pixels)
        return self.cognition_of(pre_restored, settings)

    @stage
    def cognition_of(self, pre_restored: Tensor, settings: ResolvedSettings) -> Cognition:
        """`understand` of what the SRResNet made of pictures, `(B, 3, H, W)` of any size."""
        from coser_cli.engine.cognition import understand

        self.enter("understand")
        unguided = self.model.config.one_step is not None  # one step has no negative branch
        negative = settings.prompt if unguided else settings.negative_prompt
        texts = self.text(settings.prompt), self.text(negative)
        cognition = understand(self.model, pre_restored.to(self.device, self.dtype), *texts)
        require_finite(cognition.embedding, what="cognitive embedding")
        return cognition

    @stage
    def imagine(
        self,
        low_res: LowRes,
        cognition: Cognition,
        settings: ResolvedSettings,
        *,
        draw: Draw | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Stage 3: the latents `(N·B, 4, h, w)`, reference-major, of `settings.references`
        reference pictures, from the input, noised for each by itself.

        They are imagined one after the other, so the first is the same among any number of them;
        `on_step` counts the steps of all. `draw` replaces the seeded noise. With
        `reference_strength` 0 each is the input itself.
        """
        from coser_cli.engine.reference import imagine

        count = settings.references
        if not settings.reference_strength:
            return low_res.latents.repeat(count, 1, 1, 1)
        self.enter("sample")
        draw = draw or seeded_noise(settings.seed, low_res.latents.shape)
        how = imagining(settings, self.model.config)
        different = count if how.noised else 1
        schedule = self.model.config.schedule
        walks = (
            how.begin(
                low_res.latents,
                schedule,
                draw_of(index, draw),
                on_step and part_of(on_step, index, different),
            )
            for index in range(different)
        )
        imagined = [
            imagine(self.model, cognition, start, walk, how.deep_interval) for walk, start in walks
        ]
        latents = torch.cat(imagined).repeat(count // different, 1, 1, 1)
        return require_finite(latents, what="reference")

    @stage
    def import_references(self, pictures: Sequence[Tensor], low_res: LowRes) -> Tensor:
        """Instead of stage 3: the latents `(N·B, 4, h, w)` of pictures `(1, 3, H, W)` in [0, 1].

        Each is resized to the frame of the result; where its aspect ratio is another (by more than
        2 %), it covers the frame and is cut on both sides alike. Raises `InputError`.
        """
        for picture in pictures:
            require_picture(picture)
        self.enter("decode")
        latents = encode(self.model, pictures, low_res)
        return latents.repeat_interleave(len(low_res.latents), 0)

    @stage
    def restore(
        self,
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

        `reference` latents `(N·B, 4, h, w)`: each place takes what is most alike among all N; None
        leaves the reference attention out. With `strength` 0 it is the input.
        """
        from coser_cli.engine.restoration import restorer_of

        if not settings.strength:
            return low_res.latents
        self.enter("sample")
        draw = draw or seeded_noise(settings.seed, low_res.latents.shape)
        how = restoring(settings, self.model.config)
        walk, start = how.begin(low_res.latents, self.model.config.schedule, draw, on_step)
        latents = walk(restorer_of(self.model, cognition, how, low_res, reference), start)
        return require_finite(latents, what="latents of the result")

    @stage
    def decode(self, latents: Tensor, low_res: LowRes, settings: ResolvedSettings) -> Tensor:
        """Stage 5: pixels `(B, 3, *low_res.target.hw)` in [0, 1], float32 on the CPU.

        Raises `DeviceError` where they are not finite.
        """
        self.enter("decode")
        pixels = require_finite(decoding.decode_result(self.model, latents, low_res, settings))
        return decoding.finish_result(pixels, low_res, settings.color_fix)

    @stage
    def decode_reference(self, latents: Tensor, low_res: LowRes) -> Tensor:
        """References as pictures, `(N, 3, *low_res.target.hw)`: what the VAE alone makes of latents
        `(N, 4, h, w)`, one at a time.
        """
        self.enter("decode")
        pictures = decoding.decode_references(self.model, latents, low_res)
        return require_finite(pictures, what="reference")

    def _diffuse(
        self,
        low_res: LowRes,
        settings: ResolvedSettings,
        tell: Progress,
        want_reference: bool,
        pictures: Sequence[Tensor],
    ) -> tuple[Tensor, References[Tensor] | None]:
        """Latents of the result, and the references if used or wanted: stages 2 to 4 as needed."""
        if settings.strength == 0 and not want_reference:
            return low_res.latents, None
        cognition = self.understand(low_res, settings)
        tell("understand", 1, 1)
        references, guided = None, is_guided(settings, bool(pictures))
        if want_reference or guided:
            references = self._refer(low_res, cognition, settings, tell, pictures)
        hint = torch.cat([*references.latents]) if references is not None and guided else None
        steps = steps_of(tell, "restore")
        return self.restore(low_res, cognition, hint, settings, on_step=steps), references

    def _refer(
        self,
        low_res: LowRes,
        cognition: Cognition,
        settings: ResolvedSettings,
        tell: Progress,
        pictures: Sequence[Tensor],
    ) -> References[Tensor]:
        """The given pictures or imagined ones: all of them, or the one that is nearest."""
        if pictures:
            latents = self.import_references(pictures, low_res)
        else:
            steps = steps_of(tell, "imagine")
            latents = self.imagine(low_res, cognition, settings, on_step=steps)
        return choose_latents(self.model, latents, low_res, settings.reference_select)
