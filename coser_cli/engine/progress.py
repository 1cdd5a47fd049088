"""Progress of one picture: its callback, and the bar of the Python API."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coser_cli.sampling.types import OnStep

Progress = Callable[[str, int, int], None]
"""(stage, steps done, steps in all); stages: prepare, understand, imagine, restore, decode."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def steps_of(on_progress: Progress, stage: str) -> OnStep:
    """The steps of a sampling loop as progress of a stage."""
    return lambda done, total, _: on_progress(stage, done, total)


def part_of(on_step: OnStep, index: int, count: int) -> OnStep:
    """The steps of loop `index` of `count` equally long ones as steps of all together."""
    return lambda done, total, latents: on_step(index * total + done, count * total, latents)


def tqdm_progress() -> Progress:
    """A tqdm bar on stderr for every stage of more than one step."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def show(stage: str, done: int, total: int) -> None:
        if total == 1:
            return
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage)
        bars[stage].update(done - bars[stage].n)
        if done == total:
            bars.pop(stage).close()

    return show
