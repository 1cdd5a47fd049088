"""How steps are run: as they are written, compiled, as CUDA graphs; and where that is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from coser_cli.errors import UsageError
from coser_cli.models.step import Execute, Step, eagerly

if TYPE_CHECKING:
    from coser_cli.engine.compute.compiled import Compiled
    from coser_cli.engine.compute.cuda_graphs import Graphed
    from coser_cli.models.residency import Placement


@dataclass(frozen=True)
class Wanted:
    """What is asked for; `model` tells one model's measurements from another's."""

    compile: bool = False
    cuda_graphs: bool = False
    model: str = ""

    def require_sane(self, offload: str, low_memory: bool, device: torch.device) -> None:
        """Raise `UsageError` where what is asked for cannot be had with what else is."""
        asked = "low memory" if low_memory else f"offload {offload}"
        other = "--low-memory" if low_memory else "--offload"
        if self.cuda_graphs and device.type != "cuda":
            raise UsageError(
                f"CUDA graphs need a CUDA device, and this is {device.type}",
                "leave out --cuda-graphs",
            )
        if self._names and (low_memory or offload in ("model", "sequential")):
            raise UsageError(
                f"{asked} moves weights, and {self._names} needs them where they are",
                f"leave out {self._names} or {other}",
            )

    def given_up(self, placement: Placement) -> str:
        """A line on what is not done because memory is so short that weights move; "" for all is.

        For what `require_sane` could not know: how weights are placed where that was not asked for.
        """
        if not self._names or _stay(placement):
            return ""
        return f"without {self._names}: weights do not stay on {placement.device.type}"

    @property
    def _names(self) -> str:
        names = {"--compile": self.compile, "--cuda-graphs": self.cuda_graphs}
        return " and ".join(name for name, wanted in names.items() if wanted)

    def on(self, placement: Placement) -> Execution | None:
        """What of it is possible with networks that are placed so, if anything."""
        compiled = graphed = None
        if not _stay(placement):
            return None
        if self.compile:
            compiled = _compiled(placement, self.model)
        if self.cuda_graphs and placement.device.type == "cuda":
            from coser_cli.engine.compute.cuda_graphs import CudaCapture, Graphed

            graphed = Graphed(CudaCapture(placement.device), compiled or eagerly)
        return Execution(compiled, graphed) if compiled or graphed else None


def _stay(placement: Placement) -> bool:
    """Whether weights stay where they are: compiled networks notice others in their place, and
    graphs read from where they were."""
    return placement.offload == "none" and not placement.forgets


@dataclass(frozen=True)
class Execution:
    """Runs the steps of one model's networks (`step.Execute`); what it has made goes with it."""

    compiled: Compiled | None = None
    graphed: Graphed | None = None

    def __call__(self, step: Step, network: Any, given: Any) -> Any:
        run: Execute = self.graphed or self.compiled or eagerly
        return run(step, network, given)

    @property
    def is_compiled(self) -> bool:
        """Whether steps were compiled, so that results may differ in their last bits."""
        return self.compiled is not None and self.compiled.in_use


def _compiled(placement: Placement, model: str) -> Compiled:
    from coser_cli import paths
    from coser_cli.engine.compute.compile_times import Remembered
    from coser_cli.engine.compute.compiled import Compiled

    device = placement.device
    name = f"cpu, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    about = model, name, torch.__version__
    return Compiled(device, Remembered(paths.cache_dir() / "compiled.json"), about)
