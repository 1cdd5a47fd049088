"""A loaded model with its device, number type and memory policy: what the stages run on."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

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
Result = TypeVar("Result")
P = ParamSpec("P")
MAX_BATCH = 16
"""Small pictures made at once, at most."""
BATCH_SHARE = 0.5
"""Of the free memory that a batch may take, by the estimate."""
NATIVE_TIMES = 3
"""Longest side of a result, in native sizes of the model, that is done without tiles."""


def stage(function: Callable[P, Result]) -> Callable[P, Result]:
    """A stage on a runtime, its first argument: runs without gradients, and resolves plain
    `Settings`.
    """

    @wraps(function)
    @torch.inference_mode()
    def run(*values: P.args, **options: P.kwargs) -> Result:
        runtime: Any = values[0]

        def resolved(value: Any) -> Any:
            return runtime.resolve(value) if isinstance(value, Settings) else value

        named: Any = {name: resolved(value) for name, value in options.items()}
        return function(*(resolved(value) for value in values), **named)

    return run


class Runtime:
    """Networks, device and dtype, and how much memory pictures take.

    Networks are loaded when first needed. `note` is a message about what was given up for lack of
    memory, or "". With `compile` the steps of the networks are compiled, where weights stay on the
    device.
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
    def load(cls, compute: Compute) -> Runtime:
        """The runtime of an installed model; see `Upscaler.from_pretrained`, also for errors."""
        from coser_cli.weights.load import load_model, part_sizes
        from coser_cli.weights.store import model_folder

        offload, low_memory = compute.offload, compute.low_memory
        if low_memory and offload in ("none", "model"):
            raise UsageError(f"low memory is more than offload {offload}", "leave one of them out")
        where, folder = choose_device(compute.device), model_folder(compute.model)
        precision = choose_dtype(compute.dtype, where)
        if compute.compile:
            require_compilable(offload, low_memory)
        wanted = "sequential" if low_memory else offload
        offload, note = choose_offload(wanted, part_sizes(folder, precision), where)
        placed: dict[str, Any] = {"offload": offload, "low_memory": low_memory}
        if compute.pre_restorer is not None:
            placed["pre_restorer"] = _pre_restorer(Path(compute.pre_restorer), where)
        model = load_model(folder, where, precision, **placed)
        lost = ""
        if compute.compile and not weights_stay(model.placement):
            lost = f"without --compile: weights do not stay on {where.type}"
        notes = dtype_note(compute.dtype, precision, where), note, lost
        runtime = cls(model, where, precision, "; ".join(filter(None, notes)), compute.compile)
        runtime._compute = compute
        return runtime

    def moved(self, device: str | torch.device | None, dtype: str | torch.dtype | None) -> Runtime:
        """The same on another device or in another number type, where given; the networks of this
        one are dropped. Raises `DeviceError` where that is impossible; nothing has changed then.
        """
        if self._compute is None:
            raise DeviceError("this model does not come from files", "build it where it is used")
        compute = self._compute
        if device is not None:
            compute = replace(compute, device=str(device))
        if dtype is not None:
            compute = replace(compute, dtype=str(dtype).removeprefix("torch."))
        other = self.load(compute)
        self.model.forget()
        return other

    @property
    def low_memory(self) -> bool:
        """Whether memory is preferred over time."""
        return self.model.placement.low_memory

    @property
    def picture_dtype(self) -> torch.dtype:
        """The dtype of pictures: float32 at least, whatever diffusion computes in."""
        return torch.promote_types(self.dtype, torch.float32)

    @property
    def is_compiled(self) -> bool:
        """Whether steps were compiled: results may then differ in their last bits."""
        return self._compiled is not None and self._compiled.in_use

    def in_float32(self) -> Runtime:
        """The same in float32; the networks of this one are dropped."""
        if self.model.reload is None:
            raise NotFiniteError("the model cannot be loaded again", "use --dtype float32")
        return self._instead(torch.float32)

    def streaming(self) -> Runtime:
        """The same with weights that are loaded layer by layer; the networks of this one are
        dropped. Raises `DeviceError` where they are loaded so already.
        """
        if self.model.reload is None or self.model.placement.offload == "sequential":
            raise DeviceError("the memory does not suffice", REMEDY)
        return self._instead(self.dtype, offload="sequential")

    def _instead(self, dtype: torch.dtype, **how: str) -> Runtime:
        assert self.model.reload is not None
        self.model.forget()
        self._texts.clear()
        model = self.model.reload(dtype, **how)
        self.model.execute, self._compiled = eagerly, None  # what was made goes with the networks
        return Runtime(model, self.device, dtype, self.note, self._compiles)

    def run(self, run: Callable[[Runtime], Result]) -> Result:
        """`run(self)`, or the same in float32 where the dtype's range is exceeded."""
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
        """A block in which float32 is not rounded to TF32, and out-of-memory errors are
        `DeviceError`.
        """
        with full_float32(self.device), memory_errors_named(self.device):
            yield

    def enter(self, stage: str) -> None:
        """A stage begins: networks that it does not use may leave the device."""
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
        """Why a picture of that size needs tiles; "" where it does not."""
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
        """How many pictures of that size to enlarge at once: one on a CPU, where more were measured
        to be no faster, and one where the result is larger than the model's native size; else as
        many as memory suffices for.
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
        """Bytes of weights that a picture still has to load."""
        return self.model.pending(STAGES if settings.strength else ("prepare", "decode"))

    def needed_memory(self, size: Size, settings: ResolvedSettings) -> int:
        """Bytes that a picture of that size takes at once, including weights."""
        weights = self.pending(settings)
        return needed_memory(self.model.config, size, settings.scale, self.picture_dtype, weights)


def _pre_restorer(path: Path, device: torch.device) -> PreRestorer:
    from coser_cli.engine.compute.pre_restorer import PreRestorer
    from coser_cli.weights.pre_restorer import load_pre_restorer

    return PreRestorer(load_pre_restorer(path), device)
