"""Classifier-free guidance: a wrapper around a denoiser, never a flag in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from coser_cli.sampling.types import Denoise, Predict


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
        """Of the `timesteps` the part from one share to the other, (0, 1) for all."""
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
