"""The stages of one picture: their words, what each costs, and how far the picture is over all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coser_cli.settings import ResolvedSettings

STAGES = {
    "prepare": "preparing",
    "enlarge": "enlarging",
    "encode": "encoding",
    "understand": "understanding",
    "imagine": "imagining",
    "restore": "restoring",
    "decode": "decoding",
    "write": "writing",
}
"""In their order, with the words for them."""
WHOLE, TILED = {"prepare"}, {"enlarge", "encode", "write"}
"""Stages that come only where a picture is done whole, or in tiles."""
COSTS = {
    "prepare": 0.5,
    "enlarge": 0.35,
    "encode": 0.2,
    "understand": 0.05,
    "imagine": 0.35,
    "restore": 0.5,
    "decode": 1.0,
    "write": 0.1,
}
"""Relative to decoding, those of `imagine` and `restore` per step (docs/speed.md). They are used
until a picture of the run has been timed.
"""
ALMOST = 0.99
"""No bar is fuller than this while work goes on."""


def expected_costs(
    settings: ResolvedSettings,
    *,
    reference_only: bool = False,
    imported: int = 0,
    saved: bool = False,
) -> dict[str, float]:
    """The stages that a picture with these complete settings goes through, and their costs.

    `imported` references are not imagined; one that is `saved` is imagined in any case.
    """
    costs = dict(COSTS)
    restores = settings.strength > 0 and not reference_only
    guided = restores and settings.reference_mode != "none"
    imagines = (reference_only or saved or guided) and not imported
    costs["imagine"] *= imagines * settings.references * settings.reference_steps
    costs["restore"] *= restores * settings.steps
    costs["understand"] *= reference_only or restores or saved
    return {stage: cost for stage, cost in costs.items() if cost}


class Gauge:
    """The finished share of a picture, from 0 to 1, over all stages; it never decreases.

    Stages are weighted by `expected` costs, and from the second picture on by the seconds that they
    took in the previous one.
    """

    def __init__(
        self,
        expected: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._costs = dict(COSTS if expected is None else expected)
        self._seconds: dict[str, float] = {}
        self.begin()

    def begin(self) -> None:
        """The next picture begins; the previous one, if it was decoded, sets the weights."""
        if self._seconds.get("decode"):
            self._costs = self._seconds
        self._seconds = {}
        self._since = self._clock()
        self.fraction = 0.0

    def update(self, stage: str, done: int, total: int) -> float:
        """A stage is `done` of `total` steps far; returns the share of the picture."""
        now = self._clock()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._since
        self._since = now
        absent = TILED if stage in WHOLE or WHOLE & self._seconds.keys() else WHOLE
        costs = {each: cost for each, cost in self._costs.items() if each not in absent}
        order = list(STAGES)
        before = sum(costs.get(each, 0.0) for each in order[: order.index(stage)])
        part = costs.get(stage, 0.0) * done / max(total, 1)
        whole = sum(costs.values()) or 1.0
        self.fraction = min(max(self.fraction, (before + part) / whole), ALMOST)
        return self.fraction
