"""Features of earlier steps that later steps take instead of their own: optional approximations.

Neighbouring steps see nearly the same latents, so what the networks make of them far from the
output changes little (Ma et al. 2024, "DeepCache"). Off by default; what it costs in quality is
measured in docs/speed.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from torch import Tensor

from coser_cli.engine.compute.memory import available_memory
from coser_cli.models.step import forward, forward_deep

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.resnet import PreparedTime
    from coser_cli.models.transformer import PreparedContext
    from coser_cli.models.unet import Controls

SHARE = 0.25
"""Of the memory that is free when a pass begins, the share that features may take. Those of further
tiles are computed at every step.
"""

Maps = tuple[Tensor, ...]
Key = tuple[Hashable, ...]
"""A name, and what else distinguishes features of that name."""


class Kept:
    """Features by name and place, of one pass; at most `limit` bytes, None for `SHARE` of the
    memory that is free when the first are kept.

    A feature that is computed every n-th step is that of step 0, n, 2n ...; where it is missing (no
    room, another place) it is computed when needed.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._entries: dict[Key, tuple[int, Maps]] = {}

    def recall(self, key: Key, step: int, interval: int) -> Maps | None:
        """What was kept under `key` at the last multiple of `interval`, or after it."""
        computed_at, maps = self._entries.get(key, (-1, ()))
        return maps if computed_at >= _begin(step, interval) else None

    def keep(self, key: Key, step: int, interval: int, maps: Maps) -> Maps:
        """The same maps, kept if a later step will take them and there is room."""
        if interval == 1:
            return maps
        begin = _begin(step, interval)
        for old, (computed_at, _) in list(self._entries.items()):
            if old == key or (old[0] == key[0] and computed_at < begin):
                del self._entries[old]
        if self.limit is None:
            free = available_memory(maps[0].device)
            self.limit = _bytes(maps) if free is None else round(SHARE * free)
        held = sum(_bytes(others) for _, others in self._entries.values())
        if _bytes(maps) + held <= self.limit:
            self._entries[key] = step, maps
        return maps


def predict(
    model: CoSeR,
    inputs: tuple[Tensor, PreparedTime, PreparedContext],
    controls: Callable[[bool], Controls | None],
    kept: Kept,
    key: Key,
    step: int,
    interval: int,
) -> Tensor:
    """Prediction of the U-Net, with the deep features of an earlier step where `interval` allows.

    `controls(shallow)` gives the maps that are needed: those of the finest level, or all.
    """
    unet = model.unet
    prediction: Tensor
    if interval == 1:
        prediction = model.execute(forward, unet, (*inputs, controls(False)))
        return prediction
    features = kept.recall(key, step, interval)
    if features is not None:
        prediction, _ = model.execute(forward_deep, unet, (*inputs, controls(True), features[0]))
        return prediction
    prediction, deep = model.execute(forward_deep, unet, (*inputs, controls(False)))
    kept.keep(key, step, interval, (deep,))
    return prediction


def _begin(step: int, interval: int) -> int:
    return step - step % interval


def _bytes(maps: Maps) -> int:
    return sum(each.numel() * each.element_size() for each in maps)
