"""Mean and variance of the groups of a map, gathered tile by tile, equal to those of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Of each group of channels: number of values, their mean, and the sum of their squared
    deviations from it (M2). `mean` and `m2` are `(groups,)`, float64, on the CPU.
    """

    count: int
    mean: Tensor
    m2: Tensor

    @staticmethod
    def of(values: Tensor, groups: int) -> Statistics:
        """Those of values `(1, C, h, w)`."""
        # one group after the other: float64 copies of a whole tile would be its largest tensors
        statistics = [_two_pass(part) for part in values[0].chunk(groups)]
        mean, m2 = (torch.stack(column).cpu() for column in zip(*statistics, strict=True))
        return Statistics(values[0].numel() // groups, mean, m2)

    def __add__(self, other: Statistics) -> Statistics:
        """Statistics of both sets together.

        Pairwise update of Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm
        for computing sample variances": the variance between the sets is in it.
        """
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + delta**2 * (self.count * other.count / count)
        return Statistics(count, mean, m2)

    @property
    def variance(self) -> Tensor:
        """Biased, as group norms use it."""
        return self.m2 / self.count


def _two_pass(values: Tensor) -> tuple[Tensor, Tensor]:
    if values.device.type == "mps":  # which has no float64
        values = values.cpu()
    values = values.double()
    mean = values.mean()
    return mean, (values - mean).square_().sum()
