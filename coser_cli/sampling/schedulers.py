"""Samplers by name, the noise schedule and forward diffusion.

Every sampler is a scheduler of diffusers. The noise schedule is respaced first: the steps to take
become a short schedule of their own, of which the scheduler takes all. So every sampler starts and
ends where it should at any number of steps and any strength, and `ddpm` is exactly the respaced
ancestral sampler of the published code. The network gets the original timesteps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import accumulate, repeat
from typing import Any

import torch
from torch import Tensor

from coser_cli.config import ScheduleConfig
from coser_cli.errors import UsageError


@dataclass(frozen=True)
class SamplerSpec:
    """A scheduler of diffusers or a subclass: `class_name` in `module`, and its options.

    `both_ends` keeps timestep 0 as well as the start (as the published code); otherwise each kept
    timestep ends its interval ("trailing"), so that no evaluation is spent on a clean image.
    `respaced` is off where the scheduler's formulas need the original timesteps. A `stochastic` one
    draws noise at every step but the last.
    """

    module: str
    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    both_ends: bool = False
    respaced: bool = True
    stochastic: bool = False


_DIFFUSERS = "diffusers.schedulers.scheduling"
_DPMPP = f"{_DIFFUSERS}_dpmsolver_multistep", "DPMSolverMultistepScheduler"
SAMPLERS: dict[str, SamplerSpec] = {
    "ddpm": SamplerSpec(
        f"{_DIFFUSERS}_ddpm",
        "DDPMScheduler",
        {"clip_sample": False, "variance_type": "fixed_small"},
        both_ends=True,
        stochastic=True,
    ),
    "ddim": SamplerSpec(f"{_DIFFUSERS}_ddim", "DDIMScheduler", {"clip_sample": False}),
    "dpmpp-2m": SamplerSpec(*_DPMPP, {"algorithm_type": "dpmsolver++"}),
    "dpmpp-2m-sde": SamplerSpec(*_DPMPP, {"algorithm_type": "sde-dpmsolver++"}, stochastic=True),
    "dpmpp-3m-sde": SamplerSpec(
        "coser_cli.sampling.dpm_solver",
        "DPMSolver3MSDEScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
        stochastic=True,
    ),
    "unipc": SamplerSpec(f"{_DIFFUSERS}_unipc_multistep", "UniPCMultistepScheduler"),
    "euler": SamplerSpec(f"{_DIFFUSERS}_euler_discrete", "EulerDiscreteScheduler"),
    "euler-ancestral": SamplerSpec(
        f"{_DIFFUSERS}_euler_ancestral_discrete",
        "EulerAncestralDiscreteScheduler",
        stochastic=True,
    ),
    "lcm": SamplerSpec(f"{_DIFFUSERS}_lcm", "LCMScheduler", respaced=False, stochastic=True),
}


@dataclass(frozen=True)
class Sampler:
    """A scheduler ready to run. `timesteps` are what the network gets, noisiest first."""

    scheduler: Any
    timesteps: tuple[int, ...]
    start: int
    stochastic: bool = False


def base_betas(schedule: ScheduleConfig) -> Tensor:
    """Betas of the whole forward diffusion, `(num_train_timesteps,)` float64, scaled-linear."""
    low, high = math.sqrt(schedule.beta_start), math.sqrt(schedule.beta_end)
    return torch.linspace(low, high, schedule.num_train_timesteps, dtype=torch.float64) ** 2


def alphas_cumprod(schedule: ScheduleConfig) -> Tensor:
    """ᾱ of the whole forward diffusion, `(num_train_timesteps,)` float64."""
    return torch.cumprod(1 - base_betas(schedule), dim=0)


def start_timestep(schedule: ScheduleConfig, strength: float) -> int:
    """The timestep that diffusion starts at; `strength` in (0, 1], 1 is the noisiest."""
    return round(strength * (schedule.num_train_timesteps - 1))


def add_noise(latents: Tensor, noise: Tensor, schedule: ScheduleConfig, timestep: int) -> Tensor:
    """Forward diffusion to `timestep`: √ᾱ·latents + √(1−ᾱ)·noise, with the original schedule."""
    kept = alphas_cumprod(schedule)[timestep].item()
    return math.sqrt(kept) * latents + math.sqrt(1 - kept) * noise


def make_scheduler(
    name: str, schedule: ScheduleConfig, steps: int, strength: float = 1.0
) -> Sampler:
    """The sampler `name` set to `steps` (1 to 1000) from the start that `strength` gives.

    Where the truncated schedule has fewer timesteps than `steps`, each is taken once.
    Raises `UsageError` for an unknown name.
    """
    if name not in SAMPLERS:
        raise UsageError(f"unknown sampler {name!r}", f"choose from {', '.join(SAMPLERS)}")
    spec = SAMPLERS[name]
    start = start_timestep(schedule, strength)
    steps = min(steps, start + 1)
    kept = _both_ends(steps, start) if spec.both_ends else _trailing(steps, start)
    if spec.respaced:
        scheduler = _build(spec, schedule, kept)
        scheduler.set_timesteps(steps)
        timesteps = tuple(kept[int(i)] for i in scheduler.timesteps)
        return Sampler(scheduler, timesteps, start, spec.stochastic)
    scheduler = _build(spec, schedule, range(start + 1))
    scheduler.set_timesteps(steps, original_inference_steps=start + 1)
    return Sampler(scheduler, tuple(int(t) for t in scheduler.timesteps), start, spec.stochastic)


def _both_ends(steps: int, last: int) -> list[int]:
    """`steps` timesteps from 0 to `last`, ascending; {0} for one step (published behaviour).

    The stride is summed up, not multiplied: for 310 of the 1000 numbers of steps that decides a
    rounding, and the published code sums.
    """
    if steps == 1:
        return [0]
    stride = last / (steps - 1)
    return [round(position) for position in accumulate(repeat(stride, steps - 1), initial=0.0)]


def _trailing(steps: int, last: int) -> list[int]:
    """`steps` timesteps up to `last`, ascending, each the end of its stretch."""
    return [round((i + 1) * (last + 1) / steps) - 1 for i in range(steps)]


def _build(spec: SamplerSpec, schedule: ScheduleConfig, kept: Sequence[int]) -> Any:
    """The diffusers scheduler over the timesteps in `kept` (ascending) as its whole schedule."""
    import_module("coser_cli.lean_diffusers")
    module = import_module(spec.module)
    alphas = alphas_cumprod(schedule).float()[list(kept)]
    betas = 1 - alphas / torch.cat([torch.ones(1), alphas[:-1]])
    return getattr(module, spec.class_name)(
        num_train_timesteps=len(betas),
        trained_betas=betas.tolist(),
        prediction_type=schedule.prediction_type,
        **({"timestep_spacing": "trailing"} if spec.respaced else {}),
        **spec.options,
    )
