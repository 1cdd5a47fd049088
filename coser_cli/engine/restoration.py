"""Restore: the U-Net with All-in-Attention to the low-resolution image and the reference."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.engine.cognition import Cognition
from coser_cli.engine.feature_cache import Kept, Maps, predict
from coser_cli.models.step import forward, forward_shallow

if TYPE_CHECKING:
    from coser_cli.engine.passes import Pass
    from coser_cli.engine.preparation import LowRes
    from coser_cli.models.build import CoSeR
    from coser_cli.models.resnet import PreparedTime
    from coser_cli.models.unet import Controls


@dataclass(frozen=True)
class Times:
    """Time embeddings of both networks for every timestep of a pass."""

    unet: Mapping[int, PreparedTime]
    controlnet: Mapping[int, PreparedTime]

    @staticmethod
    def of(model: CoSeR, timesteps: Sequence[int], like: Tensor) -> Times:
        """For these timesteps, with the device and dtype of `like`."""
        networks = model.unet, model.controlnet
        return Times(*(network.prepare_times(timesteps, like) for network in networks))

    def step(self, timestep: int) -> int:
        """The place of a timestep in the pass."""
        return list(self.unet).index(timestep)


@dataclass(frozen=True)
class Restorer:
    """The denoiser of the restoration, for latents of the size of its hints (a `Denoise`).

    `hints` `(B, 4, h, w)` of the ControlNet: the low-resolution latents, then those of N
    references, then those of further `conditions`, in that order of names. Its maps serve both
    guidance branches. Hints are evaluated two at a time, so that more references take no more
    memory in the network. Without a reference its attention is left out. `kept` are features of
    earlier steps of this `place`, which all steps use but every `deep_interval`-th. `weights`: of
    the attentions to the low-resolution latents and to the references.
    """

    model: CoSeR
    cognition: Cognition
    times: Times
    hints: tuple[Tensor, ...]
    deep_interval: int = 1
    kept: Kept = field(default_factory=Kept)
    place: Hashable = None
    weights: tuple[float, float] = (1.0, 1.0)
    conditions: tuple[str, ...] = ()
    _pairs: dict[tuple[int, ...], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, latents: Tensor, timestep: int, branches: int) -> Tensor:
        """Predictions `(branches·B, 4, h, w)`."""
        latents, unet = latents.to(self.cognition.embedding.dtype), self.model.unet
        inputs = latents, self.times.unet[timestep], self.cognition.for_unet(unet, branches)
        key, step = ("deep", branches, self.place), self.times.step(timestep)
        controls = partial(self._controls, latents, timestep)
        return predict(self.model, inputs, controls, self.kept, key, step, self.deep_interval)

    def _controls(self, latents: Tensor, timestep: int, shallow: bool) -> Controls:
        """The maps of all hints: of the finest level alone, if that suffices."""
        from coser_cli.models.unet import Controls

        indices = range(len(self.hints))
        pairs = (tuple(indices[first : first + 2]) for first in indices[::2])
        maps = [each for pair in pairs for each in self._maps(latents, timestep, pair, shallow)]
        first = len(maps) - len(self.conditions)
        references = zip(*maps[1:first], strict=True)
        weights = None if self.weights == (1, 1) else latents.new_tensor(self.weights)
        further = dict(zip(self.conditions, maps[first:], strict=True))
        conditions = tuple(further.get(name) for name in self.model.config.unet.conditions)
        return Controls(maps[0], tuple(map(_joined, references)) or None, weights, conditions)

    def _maps(
        self, latents: Tensor, timestep: int, indices: tuple[int, ...], shallow: bool
    ) -> Iterable[Maps]:
        """The maps of each of these hints, by one call."""
        if indices not in self._pairs:
            hints = _joined([self.hints[index] for index in indices])
            self._pairs[indices] = hints.to(latents.dtype)
        network, time = self.model.controlnet, self.times.controlnet[timestep]
        context = self.cognition.for_controlnet(network)
        inputs = latents, time, self._pairs[indices], context
        maps = self.model.execute(forward_shallow if shallow else forward, network, inputs)
        return zip(*(each.split(len(latents)) for each in maps), strict=True)


def restorer_of(
    model: CoSeR, cognition: Cognition, how: Pass, low_res: LowRes, reference: Tensor | None
) -> Restorer:
    """The restorer of a picture in memory, with the latents `(N·B, 4, h, w)` of N references, or
    None.
    """
    references = () if reference is None else reference.split(len(low_res.latents))
    return Restorer(
        model,
        cognition,
        Times.of(model, how.sampler.timesteps, cognition.embedding),
        (low_res.latents, *references, *low_res.conditions.values()),
        how.deep_interval,
        weights=how.weights,
        conditions=tuple(low_res.conditions),
    )


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors))
