"""The sampling loop; it knows no network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from coser_cli.sampling.noise import NoiseSource
from coser_cli.sampling.schedulers import Sampler
from coser_cli.sampling.types import Noise, OnStep, Predict


class Stepper:
    """Runs a sampler on one region of the latents, step by step.

    Schedulers work entry by entry, so regions that are sampled apart, each by its own stepper, are
    what the whole would be. The state is float32 whatever the network computes in.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._scheduler = copy.deepcopy(sampler.scheduler)
        self._stochastic = sampler.stochastic
        self._last = len(sampler.timesteps) - 1

    def begin(self, latents: Tensor) -> Tensor:
        """The state that belongs to `latents`, noised to the sampler's start."""
        # some schedulers keep x / √ᾱ: the network shall see `latents` first
        return latents.float() / self.scale(0)

    def scale(self, step: int) -> float:
        """The factor from the state to the network's input at this step; call in order."""
        index = self._scheduler.timesteps[step]
        scale: float = self._scheduler.scale_model_input(torch.ones(()), index).item()
        return scale

    def step(self, step: int, output: Tensor, state: Tensor, noise: Noise) -> Tensor:
        """The next state from the network's `output`; `noise(step)` is called only if needed.

        Raises RuntimeError where a stochastic scheduler has drawn its noise elsewhere: results
        would not depend on the seed.
        """
        index = self._scheduler.timesteps[step]
        self._scheduler.scale_model_input(state, index)  # some schedulers insist
        with NoiseSource(noise, step) as source:
            stepped: Tensor
            stepped, *_ = self._scheduler.step(output.float(), index, state, return_dict=False)
        if self._stochastic and step < self._last and not source.drawn:
            name = type(self._scheduler).__name__
            raise RuntimeError(f"{name} draws noise in a way that this program does not know")
        return stepped


def sample(
    predict: Predict,
    latents: Tensor,
    sampler: Sampler,
    noise: Noise,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample from `latents`, noised to `sampler.start`, `(B, C, h, w)`, to clean latents.

    `noise(i)` is called only where the sampler draws noise at step i; `on_step` gets the state
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
