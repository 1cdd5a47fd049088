"""Steps of the denoising networks compiled by torch, with `--compile`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from coser_cli import paths
from coser_cli.engine.compute.retry import free_cache, is_out_of_memory, reason_of
from coser_cli.errors import UsageError
from coser_cli.models.step import Step

if TYPE_CHECKING:
    from coser_cli.models.residency import Placement

logger = logging.getLogger(__name__)
_KERNELS = "TORCHINDUCTOR_CACHE_DIR"
Call = Callable[[Any], Any]
Compile = Callable[[Step, Any, str | None], Call]
"""A step, its network and torch's name of a mode -> the step of that network alone."""


def inductor(step: Step, network: Any, mode: str | None) -> Call:
    """The step of a network compiled by torch's inductor, for the shapes that it meets.

    Its cache is a folder of this program, unless `TORCHINDUCTOR_CACHE_DIR` names another; the
    variable must be set before inductor is imported.
    """
    os.environ.setdefault(_KERNELS, str(paths.cache_dir() / "inductor"))
    # it writes to stderr in every process without a GPU that there is none
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)

    def call(inputs: Any) -> Any:
        return step(network, inputs)

    return torch.compile(call, dynamic=False, mode=mode)


class Compiled:
    """Runs steps compiled (a `step.Execute`), on CUDA also as recorded graphs (`reduce-overhead`).

    Where compiling or a compiled step fails, one line says so, and further steps run uncompiled.
    Running out of memory is raised: the caller may retry with less.
    """

    def __init__(self, device: torch.device, compile_step: Compile = inductor) -> None:
        self._device = device
        self._mode = "reduce-overhead" if device.type == "cuda" else None
        self._compile = compile_step
        self._calls: dict[tuple[Step, int], Call] = {}
        self._failed = False

    @property
    def in_use(self) -> bool:
        """Whether any step is compiled: results may then differ in their last bits."""
        return bool(self._calls)

    def __call__(self, step: Step, network: Any, inputs: Any) -> Any:
        if not self._failed:
            try:
                return self._run(step, network, inputs)
            except Exception as error:  # of dynamo, inductor, a compiler, a driver
                if is_out_of_memory(error):
                    raise
                reason = reason_of(error)
            self._give_up(reason)
        return step(network, inputs)

    def _run(self, step: Step, network: Any, inputs: Any) -> Any:
        key = step, id(network)
        if key not in self._calls:
            name = type(network).__name__
            logger.info(f"compiling {name}: this may take minutes, once for each size")
            self._calls[key] = self._compile(step, network, self._mode)
        if self._mode is None:
            return self._calls[key](inputs)
        torch.compiler.cudagraph_mark_step_begin()
        outputs = self._calls[key](inputs)
        return _copied(outputs)  # the next replay of the graph overwrites them

    def _give_up(self, reason: str) -> None:
        """Run uncompiled from now on."""
        self._failed = True
        self._calls.clear()
        free_cache(self._device)
        logger.warning(f"compiling was given up: {reason}; steps are computed without it")


def _copied(outputs: Any) -> Any:
    """Copies of tensors, or of tuples of them."""
    return tuple(map(_copied, outputs)) if isinstance(outputs, tuple) else outputs.clone()


def require_compilable(offload: str, low_memory: bool) -> None:
    """Raise `UsageError` where weights are to move: compiled networks would be compiled again, and
    recorded graphs read from fixed addresses.
    """
    if low_memory or offload in ("model", "sequential"):
        cause = "low memory" if low_memory else f"offload {offload}"
        other = "--low-memory" if low_memory else "--offload"
        raise UsageError(
            f"{cause} moves weights, and --compile needs them where they are",
            f"leave out --compile or {other}",
        )


def weights_stay(placement: Placement) -> bool:
    """Whether weights stay where they are, as compiled steps need them."""
    return placement.offload == "none" and not placement.forgets
