"""Light SRResNet: residual blocks without batch norm, two upsamplings, bilinear skip (×4)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.config import SRResNetConfig

UPSAMPLINGS = ("pixel_shuffle", "nearest")
RECONSTRUCT_REACH = 2
"""Pixel shuffle: one convolution at each resolution and two at the last, 1 + ⌈(1 + ⌈2/2⌉)/2⌉.
Nearest: one at ×2 and three at ×4, ⌈(1 + ⌈3/2⌉)/2⌉."""


class Enlarger(Protocol):
    """The SRResNet, or what is in its place: pixels `(B, 3, H, W)` in [0, 1] → `scale` times as
    large."""

    scale: int

    def __call__(self, pixels: Tensor) -> Tensor: ...


class ResidualBlock(nn.Module):
    """conv → ReLU → conv, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class SRResNet(nn.Module):
    """Pre-restorer of the cognitive encoder (CoSeR sec. 3.1; layout of the published checkpoint).

    Input `(B, 3, H, W)` in [0, 1]; output `(B, 3, 4H, 4W)`, nominally [0, 1] but not clamped.
    Raises ValueError for an unknown `upsampling`.
    """

    scale = 4

    def __init__(self, config: SRResNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.num_feat
        self.conv_first = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(config.num_block)))
        if config.upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling {config.upsampling!r} is none of {UPSAMPLINGS}")
        self.shuffles = config.upsampling == "pixel_shuffle"
        finest = width if self.shuffles else config.up_feat
        more = 4 if self.shuffles else 1
        self.upconv1 = nn.Conv2d(width, finest * more, 3, padding=1)
        self.upconv2 = nn.Conv2d(finest, finest * more, 3, padding=1)
        self.conv_hr = nn.Conv2d(finest, finest, 3, padding=1)
        self.conv_last = nn.Conv2d(finest, 3, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        edge = self.config.edge
        if edge:
            pixels = F.pad(pixels, (edge,) * 4, mode="replicate")
        result = self.reconstruct(self.extract(pixels), pixels)
        cut = edge * self.scale
        return result[..., cut : result.shape[-2] - cut, cut : result.shape[-1] - cut]

    def extract(self, pixels: Tensor) -> Tensor:
        """Features `(B, num_feat, H, W)`; each sees `2·num_block + 1` pixels around it."""
        features: Tensor = self.body(F.leaky_relu(self.conv_first(pixels), 0.1))
        return features

    def reconstruct(self, features: Tensor, pixels: Tensor) -> Tensor:
        """Output of features and their pixels; what lies in the place of one of these, 4 × 4,
        sees `RECONSTRUCT_REACH` around it.
        """
        for upconv in (self.upconv1, self.upconv2):
            features = self._double(upconv, features)
        residual = self.conv_last(F.leaky_relu(self.conv_hr(features), 0.1))
        return residual + F.interpolate(pixels, scale_factor=4.0, mode="bilinear")

    def _double(self, upconv: nn.Conv2d, features: Tensor) -> Tensor:
        if self.shuffles:
            return F.pixel_shuffle(F.leaky_relu(upconv(features), 0.1), 2)
        larger = F.interpolate(features, scale_factor=2.0, mode="nearest")
        return F.leaky_relu(upconv(larger), 0.1)
