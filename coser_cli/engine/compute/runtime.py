"""A loaded model, and where and how exactly it computes: what `Upscaler` is built on."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import torch
from torch import Tensor

from coser_cli.engine.compute.compiled import Compiled, require_compilable, weights_stay
from coser_cli.engine.compute.device import choose_device, choose_dtype, dtype_note, full_float32
from coser_cli.engine.compute.memory import (
    PROCESS_BYTES,
    available_memory,
    choose_offload,
    gib,
    memory_errors_named,
    needed_memory,
)
from coser_cli.engine.compute.retry import REMEDY, NotFiniteError, free_cache
from coser_cli.errors import DeviceError, UsageError
from coser_cli.models.residency import STAGES
from coser_cli.models.step import eagerly
from coser_cli.settings import Compute, ResolvedSettings, Settings, TileSpec
from coser_cli.size import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coser_cli.engine.compute.pre_restorer import PreRestorer
    from coser_cli.models.build import CoSeR

AMPLE = 8 * 2**30
"""Free bytes on an accelerator from which on networks that are used once per picture stay there."""
Made = TypeVar("Made")
P = ParamSpec("P")
MAX_BATCH = 16
"""Small pictures made at once, at most."""
BATCH_SHARE = 0.5
"""Of the free memory that a batch may take, by the estimate."""
NATIVE_TIMES = 3
"""Longest side of a result, in native sizes of the model, that is done without tiles."""


def stage(method: Callable[P, Made]) -> Callable[P, Made]:
    """A stage of a runtime, which runs without gradients; plain `Settings` are resolved."""

    @wraps(method)
    @torch.inference_mode()
    def run(*values: P.args, **options: P.kwargs) -> Made:
        runtime: Any = values[0]

        def resolved(value: Any) -> Any:
            return runtime.resolve(value) if isinstance(value, Settings) else value

        named: Any = {name: resolved(value) for name, value in options.items()}
        return method(*(resolved(value) for value in values), **named)

    return run


class Runtime:
    """Networks, device and dtype, and what pictures take. Networks are loaded when first needed.

    `note` says in a line what was given up for want of memory, if anything was. With `compile` the
    steps of its networks are compiled, where weights stay on the device.
    """

    def __init__(
        self,
        model: CoSeR,
        device: torch.device,
        dtype: torch.dtype,
        note: str = "",
        compile: bool = False,  # noqa: A002 (torch's word)
    ) -> None:
        self.model = model
        self.device = device
        self.dtype = dtype
        self.note = note
        self._compiles = compile
        self._compiled = Compiled(device) if compile and weights_stay(model.placement) else None
        if self._compiled is not None:
            model.execute = self._compiled
        self._texts: dict[str, Tensor] = {}
        self._compute: Compute | None = None

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
        from coser_cli.weights.load import load_model, part_sizes
        from coser_cli.weights.store import model_folder

        if low_memory and offload in ("none", "model"):
            raise UsageError(f"low memory is more than offload {offload}", "leave one of them out")
        device, dtype = str(device), str(dtype).removeprefix("torch.")
        where, folder = choose_device(device), model_folder(model)
        precision = choose_dtype(dtype, where)
        if compile:
            require_compilable(offload, low_memory)
        wanted = "sequential" if low_memory else offload
        chosen, note = choose_offload(wanted, part_sizes(folder, precision), where)
        placed: dict[str, Any] = {"offload": chosen, "low_memory": low_memory}
        if pre_restorer is not None:
            placed["pre_restorer"] = _pre_restorer(Path(pre_restorer), where)
        loaded = load_model(folder, where, precision, **placed)
        lost = ""
        if compile and not weights_stay(loaded.placement):
            lost = f"without --compile: weights do not stay on {where.type}"
        notes = dtype_note(dtype, precision, where), note, lost
        runtime = cls(loaded, where, precision, "; ".join(filter(None, notes)), compile)
        file = None if pre_restorer is None else str(pre_restorer)
        runtime._compute = Compute(str(model), device, dtype, offload, low_memory, compile, file)
        return runtime

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
        if self._compute is None:
            raise DeviceError("this model does not come from files", "build it where it is used")
        compute = self._compute
        options = asdict(compute) | {
            "device": compute.device if device is None else device,
            "dtype": compute.dtype if dtype is None else dtype,
        }
        other = self.from_pretrained(**options)
        self.model.forget()
        self.__dict__ = other.__dict__
        return self

    @property
    def low_memory(self) -> bool:
        """Whether memory goes before time wherever there is a choice."""
        return self.model.placement.low_memory

    @property
    def picture_dtype(self) -> torch.dtype:
        """What pictures are made in: float32 at least, whatever diffusion computes in."""
        return torch.promote_types(self.dtype, torch.float32)

    @property
    def is_compiled(self) -> bool:
        """Whether steps were compiled: results may then differ in their last bits."""
        return self._compiled is not None and self._compiled.in_use

    def in_float32(self) -> Self:
        """The same in float32; the networks of this one are dropped, and read again if needed."""
        if self.model.reload is None:
            raise NotFiniteError("the model cannot be loaded again", "use --dtype float32")
        return self._instead(torch.float32)

    def streaming(self) -> Self:
        """The same with weights that stream in layer by layer; this one's networks are dropped.

        Raises `DeviceError` where they stream already.
        """
        if self.model.reload is None or self.model.placement.offload == "sequential":
            raise DeviceError("the memory does not suffice", REMEDY)
        return self._instead(self.dtype, offload="sequential")

    def _instead(self, dtype: torch.dtype, **how: str) -> Self:
        assert self.model.reload is not None
        self.model.forget()
        self._texts.clear()
        model = self.model.reload(dtype, **how)
        self.model.execute, self._compiled = eagerly, None  # what was made goes with the networks
        return type(self)(model, self.device, dtype, self.note, self._compiles)

    def run(self, run: Callable[[Self], Made]) -> Made:
        """What `run(self)` makes, or the same in float32 where this dtype's range is exceeded."""
        with self.computing():
            try:
                return run(self)
            except NotFiniteError:
                if self.dtype.itemsize >= torch.float32.itemsize or self.model.reload is None:
                    raise
            # the error is gone, and with it the frames that held what was computed
            return run(self.in_float32())

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within it, float32 is float32, and errors that say that memory did not suffice are
        `DeviceError`."""
        with full_float32(self.device), memory_errors_named(self.device):
            yield

    def enter(self, stage: str) -> None:
        """Let the networks leave the device that the stage does not use, as they are placed."""
        accelerator = self.device.type != "cpu"
        free = available_memory(self.device) if accelerator and stage == "sample" else None
        self.model.enter(stage, tight=free is not None and free < AMPLE)
        if self.model.placement.offload != "none":
            free_cache(self.device)

    def resolve(self, settings: Settings | None) -> ResolvedSettings:
        """The settings with the model's defaults where they say nothing."""
        return (settings or Settings()).resolve(self.model.config)

    def text(self, prompt: str) -> Tensor:
        """Embedding `(1, L, C)` of a prompt; computed once per model."""
        if prompt not in self._texts:
            self._texts[prompt] = self.model.text.encode([prompt])
        return self._texts[prompt]

    def why_tiled(self, size: Size, settings: ResolvedSettings, spec: TileSpec) -> str:
        """Why a picture of that size is done in tiles; "" where it need not be."""
        target = size.scaled(settings.scale)
        limit = NATIVE_TIMES * self.model.config.native_size
        if target.long_side > limit:
            return f"{target} pixels are more than {limit} on a side"
        free, needed = available_memory(self.device), self.needed_memory(size, settings)
        if spec.max_memory is not None:
            free, needed = spec.max_memory, needed + PROCESS_BYTES
        if free is None or needed <= free:
            return ""
        return f"at once it would need {gib(needed)} GiB of memory, and {gib(free)} may be taken"

    def batch_limit(self, size: Size, settings: ResolvedSettings) -> int:
        """How many pictures of that size are best made at once: one on a CPU, where more were
        measured to be no faster; one where the result is larger than the model's native size,
        which keeps an accelerator busy; else as many as memory suffices for.
        """
        side = size.scaled(settings.scale).long_side
        free = available_memory(self.device)
        if self.device.type == "cpu" or side > self.model.config.native_size:
            return 1
        if self.low_memory or free is None:
            return 1
        weights = self.pending(settings)
        each = max(1, self.needed_memory(size, settings) - weights)
        return max(1, min(MAX_BATCH, int((free * BATCH_SHARE - weights) // each)))

    def pending(self, settings: ResolvedSettings) -> int:
        """Bytes of weights that a picture will still bring."""
        return self.model.pending(STAGES if settings.strength else ("prepare", "decode"))

    def needed_memory(self, size: Size, settings: ResolvedSettings) -> int:
        """Bytes that a picture of that size takes at once, weights among them."""
        weights = self.pending(settings)
        return needed_memory(self.model.config, size, settings.scale, self.picture_dtype, weights)


def _pre_restorer(path: Path, device: torch.device) -> PreRestorer:
    from coser_cli.engine.compute.pre_restorer import PreRestorer
    from coser_cli.weights.pre_restorer import load_pre_restorer

    return PreRestorer(load_pre_restorer(path), device)
