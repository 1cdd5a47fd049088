"""Whether a picture is done whole or in tiles, and what either takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coser_cli.engine.device import PROCESS_BYTES, available_memory, gib, needed_memory
from coser_cli.engine.preparation import target_size
from coser_cli.engine.runtime import Runtime
from coser_cli.models.residency import STAGES
from coser_cli.settings import Settings, TileSpec

if TYPE_CHECKING:
    from coser_cli.engine.costs import Cost, Task

MAX_BATCH = 16
"""Small pictures made at once, at most."""
BATCH_SHARE = 0.5
"""Of the free memory that a batch may take, by the estimate."""
NATIVE_TIMES = 3
"""Longest side of a result, in native sizes of the model, that is done without tiles."""


class Sizing(Runtime):
    """A runtime that knows what pictures take."""

    def why_tiled(self, size: tuple[int, int], settings: Settings, spec: TileSpec) -> str:
        """Why a picture of `size` (height, width) is done in tiles; "" where it need not be."""
        settings, config = self.complete(settings), self.model.config
        height, width = target_size(*size, settings.scale)
        limit = NATIVE_TIMES * config.native_size
        if max(height, width) > limit:
            return f"{width}×{height} pixels are more than {limit} on a side"
        free, needed = available_memory(self.device), self._needed(size, settings)
        if spec.max_memory is not None:
            free, needed = spec.max_memory, needed + PROCESS_BYTES
        if free is None or needed <= free:
            return ""
        return f"at once it would need {gib(needed)} GiB of memory, and {gib(free)} may be taken"

    def batch_limit(self, size: tuple[int, int], settings: Settings) -> int:
        """How many pictures of `size` (height, width) are best made at once: one on a CPU, where
        more were measured to be no faster; one where the result is larger than the model's native
        size, which keeps an accelerator busy; else as many as memory suffices for.
        """
        height, width = target_size(*size, settings.scale)
        free = available_memory(self.device)
        if self.device.type == "cpu" or max(height, width) > self.model.config.native_size:
            return 1
        if self.low_memory or free is None:
            return 1
        weights = self.pending(settings)
        each = max(1, self._needed(size, settings) - weights)
        return max(1, min(MAX_BATCH, int((free * BATCH_SHARE - weights) // each)))

    def cost(self, task: Task) -> Cost:
        """What a task takes in tiles. Raises `UsageError`; see `costs.cost_of`."""
        from coser_cli.engine.costs import cost_of

        free, weights = available_memory(self.device), self.pending(task.settings)
        return cost_of(self.model, task, weights, free, self.device.type == "cpu")

    def cost_whole(self, task: Task) -> Cost:
        """What a task takes at once."""
        from coser_cli.engine.costs import whole_cost

        return whole_cost(self.model.config, task, self._needed(task.size, task.settings))

    def pending(self, settings: Settings) -> int:
        """Bytes of weights that a picture will still bring."""
        return self.model.pending(STAGES if settings.strength else ("prepare", "decode"))

    def _needed(self, size: tuple[int, int], settings: Settings) -> int:
        weights = self.pending(settings)
        return needed_memory(self.model.config, size, settings.scale, self.dtype, weights)
