"""The two sampling passes, imagining the reference and restoring the result, as settings say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from coser_cli.engine.settings_check import require_imagines
from coser_cli.sampling.guidance import Guidance, guide
from coser_cli.sampling.loop import sample
from coser_cli.sampling.noise import to_device
from coser_cli.sampling.one_step import one_step_sampler
from coser_cli.sampling.schedulers import Sampler, add_noise, make_scheduler

if TYPE_CHECKING:
    from torch import Tensor

    from coser_cli.config import ModelConfig, OneStep, ScheduleConfig
    from coser_cli.sampling.types import Denoise, Draw, OnStep
    from coser_cli.settings import ResolvedSettings


@dataclass(frozen=True)
class Pass:
    """One pass. `stream` names its noise; both passes share the noise of the start. The pass begins
    at the low-resolution latents, `noised` to `sampler.start` or not. `weights` of the attentions
    to the low-resolution picture and to the references.
    """

    stream: str
    sampler: Sampler
    guidance: Guidance = Guidance()  # noqa: RUF009 (it is frozen)
    deep_interval: int = 1
    noised: bool = True
    weights: tuple[float, float] = (1.0, 1.0)

    def sample(
        self,
        denoise: Denoise,
        latents: Tensor,
        schedule: ScheduleConfig,
        draw: Draw,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Clean latents `(B, C, h, w)` from the low-resolution ones. Both passes share the noise of
        the start, as published.
        """
        if self.noised:
            noise = to_device(draw("start", 0), latents.device).to(latents)
            latents = add_noise(latents, noise, schedule, self.sampler.start)
        predict, noise_of = guide(denoise, self.guidance), partial(draw, self.stream)
        return sample(predict, latents, self.sampler, noise_of, on_step)


def imagining(settings: ResolvedSettings, config: ModelConfig) -> Pass:
    """The pass that imagines a reference; `reference_strength` is above 0.

    Raises `UsageError` for a model that imagines none.
    """
    require_imagines(config)
    if config.one_step is not None and config.reference is not None:
        return _one_step("imagine", config.reference, config.schedule)
    steps, strength = settings.reference_steps, settings.reference_strength
    scale = settings.reference_guidance_scale
    return _pass("imagine", steps, strength, scale, settings, config.schedule)


def restoring(settings: ResolvedSettings, config: ModelConfig) -> Pass:
    """The pass that restores the result; `strength` is above 0."""
    weights = settings.control_weight, settings.reference_weight
    if config.one_step is not None:
        return replace(_one_step("restore", config.one_step, config.schedule), weights=weights)
    steps, strength, scale = settings.steps, settings.strength, settings.guidance_scale
    how = _pass("restore", steps, strength, scale, settings, config.schedule)
    return replace(how, weights=weights)


def _one_step(stream: str, step: OneStep, schedule: ScheduleConfig) -> Pass:
    return Pass(stream, one_step_sampler(schedule, step), noised=step.noised)


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
    return Pass(stream, sampler, guidance, settings.deep_interval)
