"""The two sampling passes, imagining the reference and restoring the result, as settings say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coser_cli.engine.feature_cache import EXACT, Intervals
from coser_cli.sampling.guidance import Guidance
from coser_cli.sampling.schedulers import Sampler, make_scheduler

if TYPE_CHECKING:
    from coser_cli.config import ScheduleConfig
    from coser_cli.settings import ResolvedSettings


@dataclass(frozen=True)
class Pass:
    """One pass. `stream` is the name of its noise; the start and the noise of the first step are
    those of both."""

    stream: str
    sampler: Sampler
    guidance: Guidance
    intervals: Intervals = EXACT


def imagining(settings: ResolvedSettings, schedule: ScheduleConfig) -> Pass:
    """The pass that imagines a reference; `reference_strength` is above 0."""
    steps, strength = settings.reference_steps, settings.reference_strength
    scale = settings.reference_guidance_scale
    return _pass("imagine", steps, strength, scale, settings, schedule)


def restoring(settings: ResolvedSettings, schedule: ScheduleConfig) -> Pass:
    """The pass that restores the result; `strength` is above 0."""
    steps, strength, scale = settings.steps, settings.strength, settings.guidance_scale
    return _pass("restore", steps, strength, scale, settings, schedule)


def _pass(
    stream: str,
    steps: int,
    strength: float,
    scale: float,
    settings: ResolvedSettings,
    schedule: ScheduleConfig,
) -> Pass:
    sampler = make_scheduler(settings.sampler, schedule, steps, strength)
    guidance = Guidance.within(settings.guidance_interval, scale, sampler.timesteps)
    intervals = Intervals(
        settings.control_interval, settings.reference_control_interval, settings.deep_interval
    )
    return Pass(stream, sampler, guidance, intervals)
