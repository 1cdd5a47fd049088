"""One evaluation of the denoiser instead of many steps.

As one-step diffusion super-resolution does it (Wu et al. 2024, "OSEDiff"): the network sees the
latents at one fixed timestep, and its prediction gives the clean latents at once.
"""

from __future__ import annotations

import math

from torch import Tensor

from coser_cli.config import OneStep, ScheduleConfig
from coser_cli.sampling.schedulers import Sampler, alphas_cumprod


def clean_latents(
    prediction: Tensor, latents: Tensor, schedule: ScheduleConfig, timestep: int
) -> Tensor:
    """x₀ `(B, C, h, w)`, float32, from what the network predicts for `latents` at `timestep`.

    With a² = ᾱ: epsilon gives (x − √(1−a²)·ε)/a, v gives a·x − √(1−a²)·v (Salimans and Ho 2022),
    sample is x₀ itself. Raises ValueError for another prediction type.
    """
    alpha = alphas_cumprod(schedule)[timestep].item()
    signal, noise = math.sqrt(alpha), math.sqrt(1 - alpha)
    prediction, latents = prediction.float(), latents.float()
    if schedule.prediction_type == "epsilon":
        return (latents - noise * prediction) / signal
    if schedule.prediction_type == "v_prediction":
        return signal * latents - noise * prediction
    if schedule.prediction_type == "sample":
        return prediction
    raise ValueError(f"unknown prediction type {schedule.prediction_type!r}")


class OneStepScheduler:
    """The part of a diffusers scheduler that the sampling loop needs, for a single timestep."""

    def __init__(self, schedule: ScheduleConfig, timestep: int) -> None:
        self._schedule = schedule
        self.timesteps = (timestep,)

    def scale_model_input(self, sample: Tensor, timestep: int) -> Tensor:
        """The network sees the latents as they are."""
        return sample

    def step(
        self, prediction: Tensor, timestep: int, sample: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """The clean latents; no noise is drawn."""
        return (clean_latents(prediction, sample, self._schedule, timestep),)


def one_step_sampler(schedule: ScheduleConfig, step: OneStep) -> Sampler:
    """A sampler of the single timestep of `step`."""
    return Sampler(OneStepScheduler(schedule, step.timestep), (step.timestep,), step.timestep)
