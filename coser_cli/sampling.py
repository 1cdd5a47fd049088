"""Samplers by name, the sampling loop and guidance; none of them knows a network.

Every sampler is a scheduler of diffusers. The noise schedule is respaced first: the steps to be
walked become a short schedule of their own, and the scheduler walks all of it. So every sampler
ends and starts where it should at any number of steps and any strength, and `ddpm` is exactly the
respaced ancestral sampler of the published code. The network is told the original timesteps.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import accumulate, product, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from coser_cli.errors import UsageError
from coser_cli.models.config import ScheduleConfig

Predict = Callable[[Tensor, int], Tensor]
"""(latents `(B, C, h, w)`, timestep) -> what the network predicts, same shape."""
Denoise = Callable[[Tensor, int, int], Tensor]
"""(latents `(B, C, h, w)`, timestep, guidance branches n) -> predictions `(n·B, C, h, w)`, one
branch after the other: the positive one alone, or the positive and the negative one."""
Noise = Callable[[int], Tensor]
"""step index, 0 = noisiest -> white noise of the latents' shape."""
Draw = Callable[[str, int], Tensor]
"""(stream, step) -> white noise; streams: start, imagine, restore, and start/k, imagine/k of the
k-th further reference."""
OnStep = Callable[[int, int, Tensor], None]
"""(steps done, steps in all, latents after the step)."""


@dataclass(frozen=True)
class SamplerSpec:
    """A scheduler of diffusers, or on one of them: `class_name` in `module`, and its options.

    `both_ends` keeps timestep 0 as well as the start (as the published code); otherwise each
    kept timestep ends its stretch ("trailing"), so that no evaluation is spent on a clean image.
    `respaced` is off where the scheduler's formulas need the original timesteps.
    """

    module: str
    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    both_ends: bool = False
    respaced: bool = True


_NOISE_BLOCK = 32, 64
"""Rows and columns of latents whose noise is drawn at once; tiles' bands of rows are as high."""
_DIFFUSERS = "diffusers.schedulers.scheduling"
_DPMPP = f"{_DIFFUSERS}_dpmsolver_multistep", "DPMSolverMultistepScheduler"
SAMPLERS: dict[str, SamplerSpec] = {
    "ddpm": SamplerSpec(
        f"{_DIFFUSERS}_ddpm",
        "DDPMScheduler",
        {"clip_sample": False, "variance_type": "fixed_small"},
        both_ends=True,
    ),
    "ddim": SamplerSpec(f"{_DIFFUSERS}_ddim", "DDIMScheduler", {"clip_sample": False}),
    "dpmpp-2m": SamplerSpec(*_DPMPP, {"algorithm_type": "dpmsolver++"}),
    "dpmpp-2m-sde": SamplerSpec(*_DPMPP, {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp-3m-sde": SamplerSpec(
        "coser_cli.dpm_solver",
        "DPMSolver3MSDEScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    ),
    "unipc": SamplerSpec(f"{_DIFFUSERS}_unipc_multistep", "UniPCMultistepScheduler"),
    "euler": SamplerSpec(f"{_DIFFUSERS}_euler_discrete", "EulerDiscreteScheduler"),
    "euler-ancestral": SamplerSpec(
        f"{_DIFFUSERS}_euler_ancestral_discrete",
        "EulerAncestralDiscreteScheduler",
    ),
    "lcm": SamplerSpec(f"{_DIFFUSERS}_lcm", "LCMScheduler", respaced=False),
}


@dataclass(frozen=True)
class Sampler:
    """A scheduler ready to run. `timesteps` are what the network is told, noisiest first."""

    scheduler: Any
    timesteps: tuple[int, ...]
    start: int


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


def noise_rows(seed: int, stream: str, step: int, channels: int, rows: range, width: int) -> Tensor:
    """Rows of one endless field of white float32 noise, `(1, channels, len(rows), width)`.

    A value is a function of (seed, stream, step) and of its channel, row and column alone: it
    depends neither on the size of the latents, nor on what else was drawn, nor on the device. It is
    drawn in blocks, each with a counter of its own, because making generators is what takes time.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    key = [int.from_bytes(digest[i : i + 8], "big") for i in (0, 8)]
    drawn = np.empty((1, channels, len(rows), width), np.float32)
    height, columns = _NOISE_BLOCK
    tops = range(rows.start - rows.start % height, rows.stop, height)
    for channel, top, left in product(range(channels), tops, range(0, width, columns)):
        counter = np.random.Philox(key=key, counter=[0, top // height, channel, left // columns])
        block = np.random.Generator(counter).standard_normal(_NOISE_BLOCK, np.float32)
        here = range(max(top, rows.start), min(top + height, rows.stop))
        right = min(left + columns, width)
        drawn[0, channel, here.start - rows.start : here.stop - rows.start, left:right] = block[
            here.start - top : here.stop - top, : right - left
        ]
    return torch.from_numpy(drawn)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of host memory on `device`, without waiting for what runs there."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def seeded_noise(seed: int, shape: Sequence[int]) -> Draw:
    """`noise_rows` for whole latents `(B, C, h, w)`; the pictures of a batch see the same noise, as
    each would alone.
    """
    batch, channels, height, width = shape

    def draw(stream: str, step: int) -> Tensor:
        rows = noise_rows(seed, stream, step, channels, range(height), width)
        return rows.expand(batch, -1, -1, -1)

    return draw


def make_scheduler(
    name: str, schedule: ScheduleConfig, steps: int, strength: float = 1.0
) -> Sampler:
    """The sampler `name` set to `steps` (1 to 1000) from the start that `strength` gives.

    Where the truncated schedule has fewer timesteps than `steps`, each is walked once.
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
        return Sampler(scheduler, tuple(kept[int(i)] for i in scheduler.timesteps), start)
    scheduler = _build(spec, schedule, range(start + 1))
    scheduler.set_timesteps(steps, original_inference_steps=start + 1)
    return Sampler(scheduler, tuple(int(t) for t in scheduler.timesteps), start)


class Stepper:
    """A sampler's walk over one region of the latents, step by step, region by region alike.

    Schedulers work entry by entry, so regions that are walked apart, each by its own stepper, are
    what the whole would be. The state is float32 whatever the network computes in.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._scheduler = copy.deepcopy(sampler.scheduler)

    def begin(self, latents: Tensor) -> Tensor:
        """The state that belongs to `latents`, noised to the sampler's start."""
        # some schedulers keep x / √ᾱ: the network shall see `latents` first
        return latents.float() / self.scale(0)

    def scale(self, step: int) -> float:
        """The factor between the state and what the network sees at this step; call in order."""
        index = self._scheduler.timesteps[step]
        scale: float = self._scheduler.scale_model_input(torch.ones(()), index).item()
        return scale

    def step(self, step: int, output: Tensor, state: Tensor, noise: Noise) -> Tensor:
        """The next state from the network's `output`; `noise(step)` is asked for only if needed."""
        index = self._scheduler.timesteps[step]
        self._scheduler.scale_model_input(state, index)  # some schedulers insist
        with _NoiseFrom(noise, step):
            stepped: Tensor = self._scheduler.step(output.float(), index, state, return_dict=False)[
                0
            ]
        return stepped


def sample(
    predict: Predict,
    latents: Tensor,
    sampler: Sampler,
    noise: Noise,
    on_step: OnStep | None = None,
) -> Tensor:
    """Walk from `latents`, noised to `sampler.start`, `(B, C, h, w)`, to clean latents.

    `noise(i)` is asked for only where the sampler draws some at step i; `on_step` is told the state
    after each step.
    """
    stepper = Stepper(sampler)
    state = stepper.begin(latents)
    for step, timestep in enumerate(sampler.timesteps):
        output = predict(state * stepper.scale(step), timestep)
        state = stepper.step(step, output, state, noise)
        if on_step is not None:
            on_step(step + 1, len(sampler.timesteps), state)
    return state


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance at `scale`; 1 is none. `timesteps`: those that are guided, None for
    all. Guidance at the noisiest steps costs variety, at the last ones it does little, and where
    it is left out a step costs half (Kynkäänniemi et al. 2024).
    """

    scale: float = 1.0
    timesteps: frozenset[int] | None = None

    @staticmethod
    def within(interval: tuple[float, float], scale: float, timesteps: Sequence[int]) -> Guidance:
        """Of the walk along `timesteps` the part from one share to the other, (0, 1) for all."""
        first, last = (round(share * len(timesteps)) for share in interval)
        return Guidance(scale, frozenset(timesteps[first:last]))

    def branches(self, timestep: int) -> int:
        """How many branches the denoiser must compute at this timestep: 2 where it is guided."""
        guided = self.timesteps is None or timestep in self.timesteps
        return 2 if guided and self.scale != 1 else 1


def guide(denoise: Denoise, guidance: Guidance) -> Predict:
    """Classifier-free guidance: negative + scale·(positive − negative), where it applies."""

    def predict(latents: Tensor, timestep: int) -> Tensor:
        branches = guidance.branches(timestep)
        output = denoise(latents, timestep, branches)
        if branches == 1:
            return output
        positive, negative = output.chunk(2)
        return negative + guidance.scale * (positive - negative)

    return predict


@dataclass(frozen=True)
class Walk:
    """How one pass is sampled; call it with a denoiser and the noised start."""

    sampler: Sampler
    guidance: Guidance
    noise: Noise
    on_step: OnStep | None = None

    def __call__(self, denoise: Denoise, start: Tensor) -> Tensor:
        """Clean latents from `start`, which is noised to `sampler.start`."""
        predict = guide(denoise, self.guidance)
        return sample(predict, start, self.sampler, self.noise, self.on_step)


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


class _NoiseFrom(TorchFunctionMode):
    """Within it, `torch.randn` (all that schedulers draw from) gives our noise of this step.

    Schedulers differ in how noise can be handed in, and most cannot be handed any.
    """

    def __init__(self, noise: Noise, step: int) -> None:
        super().__init__()
        self.noise, self.step = noise, step

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.randn:
            return func(*args, **kwargs)
        return to_device(self.noise(self.step), kwargs["device"]).to(kwargs.get("dtype"))
