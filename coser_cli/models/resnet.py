"""The convolutional blocks of U-Net and ControlNet, with diffusers' parameter names.

Residual blocks take the time as shifts, which are computed once for all steps. The blocks are our
own because importing diffusers' takes longer than a small network computes, and because networks
without norms (`groups` 0) need them, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.models.attention import match_batch
from coser_cli.models.dense import ResidualInResidual

EPS = 1e-5
LONGEST_PERIOD = 10_000
"""Longest period of the time embedding's sinusoids, in timesteps (Vaswani et al. 2017, sec. 3.5).
"""


def group_norm(groups: int, channels: int, eps: float) -> nn.Module:
    """A group norm, or the identity for 0 `groups`."""
    return nn.GroupNorm(groups, channels, eps=eps) if groups else nn.Identity()


@dataclass(frozen=True)
class PreparedTime:
    """The time's shifts of the channels of every residual block: `shifts[block]`, `(T, C)`. They
    depend on the timestep only, so one instance serves all pictures, tiles and guidance branches.
    """

    shifts: tuple[Tensor, ...]

    def at(self, index: int) -> PreparedTime:
        """Those of one of the T timesteps, `(1, C)` each."""
        return PreparedTime(tuple(shift[index : index + 1] for shift in self.shifts))


class TimestepEmbedding(nn.Module):
    """Timesteps `(T,)` → embeddings `(T, 4·channels)` in `dtype`: sinusoids, two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, 4 * channels)
        self.linear_2 = nn.Linear(4 * channels, 4 * channels)

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        waves = sinusoids(timesteps, self.channels).to(dtype)
        embedding: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return embedding


def sinusoids(timesteps: Tensor, channels: int) -> Tensor:
    """Cosines, then sines, of timesteps `(T,)`, `(T, channels)` float32, from one radian per
    timestep to one per `LONGEST_PERIOD`; `channels` is even.
    """
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    frequencies = torch.exp(-math.log(LONGEST_PERIOD) * steps / half)
    angles = timesteps[:, None].float() * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class ResnetBlock(nn.Module):
    """Norm, SiLU and convolution, twice, the time added in between; added to the input, which is
    brought to the same width.

    `time_index` is its place in a `PreparedTime`; the network that owns it sets it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, time_channels: int, groups: int
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(groups, in_channels, EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = group_norm(groups, out_channels, EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        wider = in_channels != out_channels
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if wider else None
        self.time_index = 0

    def time_shift(self, time: Tensor) -> Tensor:
        """Shifts `(T, out_channels)` for time embeddings `(T, time_channels)`."""
        shift: Tensor = self.time_emb_proj(F.silu(time))
        return shift

    def forward(self, x: Tensor, time: PreparedTime) -> Tensor:
        """Map `(B, in_channels, H, W)` → `(B, out_channels, H, W)`; times of B entries, of a
        divisor of B, or of one for all.
        """
        shift = match_batch(time.shifts[self.time_index], x.shape[0])
        hidden = self.conv1(F.silu(self.norm1(x))) + shift[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        return x + hidden


class DenseResnetBlock(nn.Module):
    """A `ResnetBlock` of residual-in-residual dense blocks, as ESRGAN has them: no norms; the time
    is added at the input.
    """

    GROWTH = 32

    def __init__(
        self, in_channels: int, out_channels: int, time_channels: int, blocks: int
    ) -> None:
        super().__init__()
        wider = in_channels != out_channels
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if wider else None
        self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.blocks = nn.Sequential(
            *(ResidualInResidual(out_channels, self.GROWTH) for _ in range(blocks))
        )
        self.time_index = 0

    def time_shift(self, time: Tensor) -> Tensor:
        """Shifts `(T, out_channels)` for time embeddings `(T, time_channels)`."""
        shift: Tensor = self.time_emb_proj(F.silu(time))
        return shift

    def forward(self, x: Tensor, time: PreparedTime) -> Tensor:
        """As `ResnetBlock.forward`."""
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        x = x + match_batch(time.shifts[self.time_index], x.shape[0])[:, :, None, None]
        result: Tensor = self.blocks(x)
        return result


class Downsample(nn.Module):
    """Half the size, by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(x)
        return halved


class Upsample(nn.Module):
    """Twice the size: every cell repeated, and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled


def number_resnets(resnets: Iterable[ResnetBlock | DenseResnetBlock]) -> None:
    """Give each its place in the `PreparedTime`."""
    for index, resnet in enumerate(resnets):
        resnet.time_index = index
