"""Dense blocks (Wang et al. 2018, "ESRGAN", sec. 3.1), with the names of the published CFW."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DenseBlock(nn.Module):
    """Five convolutions, each fed with all before it; the last one, times 0.2, is added."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for index in range(1, 5):
            width = channels + (index - 1) * growth
            self.add_module(f"conv{index}", nn.Conv2d(width, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        grown = x
        for index in range(1, 5):
            module = cast("nn.Conv2d", self.get_submodule(f"conv{index}"))
            grown = torch.cat((grown, F.leaky_relu(module(grown), 0.2)), dim=1)
        return torch.add(x, self.conv5(grown), alpha=0.2)


class ResidualInResidual(nn.Module):
    """Three dense blocks; their change, times 0.2, is added (RRDB of ESRGAN)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(channels, growth)
        self.rdb2 = DenseBlock(channels, growth)
        self.rdb3 = DenseBlock(channels, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=0.2)
