"""`--dry-run`: what each job would write and take; nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coser_cli.batch.checks import naming, require_writable
from coser_cli.batch.jobs import Job
from coser_cli.batch.load import Load
from coser_cli.batch.request import Work
from coser_cli.engine.tiled.cost import Cost, Task, cost_at_once, cost_in_tiles
from coser_cli.errors import CoserError, WeightsError
from coser_cli.settings import ResolvedSettings
from coser_cli.size import Size

if TYPE_CHECKING:
    from coser_cli.engine.upscaler import Upscaler

CALIBRATION_PART = 2
"""The picture whose stages are timed has this part of a tile's side: a larger one takes seconds."""


@dataclass(frozen=True)
class Plan:
    """The plan of a job. `cost` is what it takes; `why` it is done in tiles, "" where it is done
    whole; `seconds` by a short calibration, None where nothing could be timed. `existing` outputs
    would be skipped or, with `overwrite`, replaced. `error` is why it would fail.
    """

    job: Job
    source_size: Size | None = None
    target_size: Size | None = None
    cost: Cost | None = None
    why: str = ""
    seconds: float | None = None
    existing: tuple[Path, ...] = ()
    error: CoserError | None = None


def plans(jobs: Sequence[Job], load: Load, work: Work) -> Iterator[Plan]:
    """A plan per job, in order. Where the weights are missing, that is the error of each."""
    try:
        upscaler, missing = load(), None
    except WeightsError as error:
        upscaler, missing = None, error
    rates: _Rates | None = None
    for job in jobs:
        existing = tuple(path for path in job.outputs if os.path.lexists(path))
        plan = _planned(Plan(job, existing=existing), upscaler, work)
        if missing is not None and plan.error is None:
            plan = replace(plan, error=missing)
        if plan.error is None and plan.cost is not None and upscaler is not None:
            rates = rates or _calibrate(upscaler, work, tuple(job.conditions))
            tile_size = work.request.tiles.tile_size if plan.why else None
            plan = replace(plan, seconds=rates.seconds(plan.cost, tile_size))
        yield plan


def _planned(plan: Plan, upscaler: Upscaler | None, work: Work) -> Plan:
    """With sizes and cost, or with the error that the job would end in."""
    from coser_cli.imageio.header import read_header
    from coser_cli.imageio.mask import read_mask
    from coser_cli.imageio.read import read_photo

    job = plan.job
    try:
        size = read_header(job.source, job.frame).size
        with naming(job.source):
            settings = work.settings_for(size)
            target = size.scaled(settings.scale)
            plan = replace(plan, source_size=size, target_size=target)
        if job.mask is not None:
            read_mask(job.mask)
        for path in job.conditions.values():
            read_photo(path)
        require_writable(job.outputs, target)
        if upscaler is None:
            return plan
        with naming(job.source):
            return _costed(plan, upscaler, work, settings)
    except CoserError as error:
        return replace(plan, error=error)


def _costed(plan: Plan, upscaler: Upscaler, work: Work, settings: ResolvedSettings) -> Plan:
    from coser_cli.imageio.formats import require_streamable

    assert plan.source_size is not None and plan.target_size is not None
    tiles = work.request.tiles
    why = upscaler.runtime.why_tiled(plan.source_size, settings, tiles)
    if work.request.always_tiles or upscaler.runtime.low_memory:
        why = why or "asked for"
    references = plan.job.kind == "reference" or bool(plan.job.references)
    imported, conditions = len(work.references), len(plan.job.conditions)
    task = Task(plan.source_size, settings, tiles, imported, references, conditions)
    if not why:
        return replace(plan, cost=cost_at_once(upscaler.runtime, task))
    for path in plan.job.outputs:
        require_streamable(path, plan.target_size)
    return replace(plan, cost=cost_in_tiles(upscaler.runtime, task), why=why)


@dataclass
class _Rates:
    """Seconds per output pixel of what is not sampled, and per evaluation of one of what is."""

    pixel: float = 0.0
    evaluation: dict[str, float] = field(default_factory=dict)

    def seconds(self, cost: Cost, tile_size: int | None) -> float:
        """What a picture takes, whole or in tiles with this side."""
        diffusion, evaluated = cost.diffusion, cost.padded.area
        if tile_size is not None:
            evaluated = min(cost.padded.height, tile_size) * min(cost.padded.width, tile_size)
        imagined = diffusion.reference_tiles * diffusion.references * diffusion.reference_steps
        restored = diffusion.tiles * diffusion.steps
        sampled = imagined * self.evaluation.get("imagine", 0.0)
        sampled += restored * self.evaluation.get("restore", 0.0)
        return cost.padded.area * self.pixel + evaluated * sampled


def _calibrate(upscaler: Upscaler, work: Work, conditions: Sequence[str]) -> _Rates:
    """Time one step of each stage in a second run, when everything is loaded; with pictures of
    these conditions."""
    import torch

    scale, tile_size = work.settings.scale, work.request.tiles.tile_size
    side = max(1, round(tile_size / CALIBRATION_PART / scale))
    area = round(side * scale) ** 2
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    settings = replace(work.settings, steps=1, reference_steps=1, references=1)
    beside = dict.fromkeys(conditions, pixels)
    moments: list[tuple[str, float]] = []

    def on_progress(stage: str, done: int, total: int) -> None:
        if done == total:
            moments.append((stage, time.monotonic()))

    for _ in range(2):
        began = time.monotonic()
        moments.clear()
        upscaler.upscale(pixels, settings, conditions=beside, on_progress=on_progress)
    rates, before = _Rates(), began
    for stage, moment in moments:
        rate, before = (moment - before) / area, moment
        if stage in ("imagine", "restore"):
            rates.evaluation[stage] = rate
        else:
            rates.pixel += rate
    return rates
