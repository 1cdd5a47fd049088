"""What each of the engine's shortcuts is worth: one restoration step with it and without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.bench.clock import Tell, Timing, silent, time_of
from coser_cli.bench.naive import Shortcuts, step_of
from coser_cli.sampling.noise import seeded_noise
from coser_cli.sampling.schedulers import add_noise
from coser_cli.sampling.types import Denoise

if TYPE_CHECKING:
    from coser_cli.engine.cognition import Cognition
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.settings import Settings

ALL = "all"


@dataclass(frozen=True)
class Gain:
    """One shortcut (or `all` of them): seconds per step with everything on, and without it.

    Both were measured in turns, so that what else the machine does meets both; the least seconds
    are compared, which it has disturbed least. `difference` is the relative L2 distance of the two
    predictions.
    """

    shortcut: str
    words: str
    fast: Timing
    slow: Timing
    difference: float

    @property
    def factor(self) -> float:
        """How many times as long a step takes without."""
        return self.slow.least / self.fast.least


class RestorationStep:
    """One prediction of the restoration, from low-resolution and reference latents
    `(1, 4, h, w)` noised to the middle of the schedule."""

    def __init__(
        self,
        upscaler: Upscaler,
        settings: Settings,
        cognition: Cognition,
        low_res: Tensor,
        reference: Tensor,
    ) -> None:
        schedule = upscaler.model.config.schedule
        self._timestep = schedule.num_train_timesteps // 2
        noise = seeded_noise(settings.seed, low_res.shape)("start", 0).to(low_res)
        self.device, self.dtype = upscaler.device, upscaler.dtype
        self._model, self._cognition = upscaler.model, cognition
        self._branches = 1 if settings.guidance_scale == 1 else 2
        self._hints = low_res, reference
        self._latents = add_noise(low_res, noise, schedule, self._timestep)

    @torch.inference_mode()
    def denoiser(self, shortcuts: Shortcuts) -> Denoise:
        """The denoiser with these shortcuts."""
        timesteps = [self._timestep]
        return step_of(self._model, self._cognition, timesteps, *self._hints, shortcuts)

    @torch.inference_mode()
    def run(self, denoise: Denoise) -> Tensor:
        """The prediction."""
        return denoise(self._latents, self._timestep, self._branches)

    def gain(self, name: str, words: str, less: Shortcuts, repeat: int, warmup: int = 1) -> Gain:
        """Everything on against these shortcuts only, `repeat` times in turns, after `warmup`."""
        ways = self.denoiser(Shortcuts()), self.denoiser(less)
        for _ in range(warmup):
            for denoise in ways:
                self.run(denoise)
        runs: tuple[list[float], list[float]] = ([], [])
        made: dict[int, Tensor] = {}
        for _ in range(repeat):
            for index, denoise in enumerate(ways):
                run = partial(self._keep, made, index, denoise)
                runs[index].extend(time_of(run, self.device, 1, warmup=0).runs)
        wanted, got = made[0].float(), made[1].float()
        difference = ((got - wanted).norm() / wanted.norm()).item()
        return Gain(name, words, Timing(tuple(runs[0])), Timing(tuple(runs[1])), difference)

    def _keep(self, made: dict[int, Tensor], index: int, denoise: Denoise) -> None:
        made[index] = self.run(denoise)


def measure_gains(
    step: RestorationStep, repeat: int, warmup: int = 1, tell: Tell = silent
) -> Iterator[Gain]:
    """Every shortcut alone, then all together. In float32 there is no smaller number type to do
    without.
    """
    for name, words in Shortcuts.names().items():
        if name == "reduced_precision" and step.dtype == torch.float32:
            continue
        tell(f"gains: {words}")
        yield step.gain(name, words, Shortcuts().without(name), repeat, warmup)
    tell("gains: all together")
    yield step.gain(ALL, "all of them", Shortcuts.none(), repeat, warmup)
