"""`Upscaler`: one picture in, one picture out, in stages that can be called one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, overload

import torch
from torch import Tensor

from coser_cli.engine import stages, whole
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.images import Image, Upscaled, chosen, mask_of, pixels_of, upscaled_each
from coser_cli.engine.preparation import LowRes
from coser_cli.engine.progress import Progress, silent, tqdm_progress
from coser_cli.engine.reference import Candidates
from coser_cli.settings import Compute, ResolvedSettings, Settings
from coser_cli.size import Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from coser_cli.models.build import CoSeR

__all__ = ["LowRes", "Progress", "Upscaled", "Upscaler"]

P = ParamSpec("P")
Result = TypeVar("Result")


def _method(
    stage: Callable[Concatenate[Runtime, P], Result],
) -> Callable[Concatenate[Upscaler, P], Result]:
    """A stage as a method, on the runtime of its upscaler."""

    @wraps(stage)
    def run(upscaler: Upscaler, *values: P.args, **options: P.kwargs) -> Result:
        return stage(upscaler.runtime, *values, **options)

    return run


class Upscaler:
    """CoSeR for single pictures, or several of one size at once.

    `upscale` does everything; `prepare`, `understand`, `imagine`, `restore` and `decode` are its
    stages. Pixels are `(B, 3, H, W)` float RGB in [0, 1], latents `(B, 4, h, w)`. The same seed
    gives the same noise on every device, and to each picture of a batch that of a single one.
    `runtime` has the networks, and says where and how exactly they compute.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "auto",
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        offload: str = "auto",
        low_memory: bool = False,
        compile: bool = False,  # noqa: A002 (torch's word)
        pre_restorer: str | Path | None = None,
    ) -> Self:
        """An upscaler with the installed model of that name or in that folder.

        "auto": `sd21` if installed, else the bundled `mini`. `offload` as `settings.Offload`;
        `low_memory` streams the weights from their files and keeps nothing that can be read again.
        `compile` compiles the networks of the denoising step when they are first needed; why it was
        given up, if it was, goes to the logger `coser_cli.engine`. It does not go with weights that
        do not stay on the device. `pre_restorer` is the file of a super-resolution network that
        `spandrel` can load, to enlarge pictures in place of the model's own. Raises
        `WeightsError`, `DeviceError`, `UsageError`.
        """
        where = str(device), str(dtype).removeprefix("torch.")
        file = None if pre_restorer is None else str(pre_restorer)
        compute = Compute(str(model), *where, offload, low_memory, compile, file)
        return cls(Runtime.load(compute))

    @classmethod
    def load(cls, model: str | Path = "auto", **options: Any) -> Self:
        """The former name of `from_pretrained`."""
        message = f"{cls.__name__}.load is called from_pretrained"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return cls.from_pretrained(model, **options)

    def to(
        self,
        *places: str | torch.device | torch.dtype,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> Self:
        """Compute on another device or in another number type from now on, and return this object.

        As of a module or pipeline: `to("cuda")`, `to(torch.float16)`, or both. The networks are
        read again when they are next needed. Raises `DeviceError` where the device cannot be used,
        or the model does not come from files; nothing has changed then.
        """
        for each in places:
            if isinstance(each, torch.dtype):
                dtype = each
            else:
                device = each
        self.runtime = self.runtime.moved(device, dtype)
        return self

    @property
    def model(self) -> CoSeR:
        """The networks."""
        return self.runtime.model

    @property
    def device(self) -> torch.device:
        """Where they compute."""
        return self.runtime.device

    @property
    def dtype(self) -> torch.dtype:
        """What diffusion computes in."""
        return self.runtime.dtype

    @property
    def note(self) -> str:
        """What was given up for want of memory, in a line; "" where nothing was."""
        return self.runtime.note

    def resolve(self, settings: Settings | None) -> ResolvedSettings:
        """The settings with the model's defaults where they say nothing."""
        return self.runtime.resolve(settings)

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
        by name. `on_progress(stage, done, total)` is called after each step;
        `progress` shows tqdm bars instead. With `strength` 0 nothing is imagined, and no diffusion
        network is loaded, unless `want_reference` asks for the reference all the same. What exceeds
        the range of a smaller dtype is done again in float32; of several pictures, by the caller,
        one by one. Raises `InputError`, `DeviceError`, and `UsageError` for settings.
        """
        resolved = self.resolve(chosen(settings, choices))
        report = on_progress or (tqdm_progress() if progress else silent)
        pictures = [pixels_of(each)[0] for each in references]
        more = resolved, report, want_reference, pictures, mask_of(mask), conditions or {}

        def upscaled(pixels: Tensor) -> Upscaled:
            return whole.upscale(self.runtime, pixels, *more)

        if not isinstance(image, list | tuple):
            pixels, back = pixels_of(image)
            return replace(upscaled(pixels), back=back)

        def limit(pixels: Tensor) -> int:
            if resolved.reference_select == "clip":
                return 1
            return self.runtime.batch_limit(Size.of(pixels), resolved)

        return upscaled_each(image, upscaled, limit)

    def reference(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Tensor:
        """The reference alone of pixels `(1, 3, H, W)`, `(N, 3, …)`: as large as the result would
        be, in [0, 1], float32 on the CPU. Raises what `upscale` raises.
        """
        candidates = self.candidates(pixels, settings, on_progress)
        is_chosen = settings is not None and settings.reference_select == "clip"
        return candidates.nearest() if is_chosen else candidates.pictures

    def candidates(
        self,
        pixels: Tensor,
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> Candidates:
        """All references that would be imagined for pixels `(1, 3, H, W)`, with their scores.
        Raises what `upscale` raises.
        """
        return whole.candidates(self.runtime, pixels, self.resolve(settings), on_progress or silent)

    prepare = _method(stages.prepare)
    understand = _method(stages.understand)
    imagine = _method(stages.imagine)
    import_references = _method(stages.import_references)
    restore = _method(stages.restore)
    decode = _method(stages.decode)
    decode_reference = _method(stages.decode_reference)
