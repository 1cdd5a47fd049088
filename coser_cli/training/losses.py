"""Losses of the pixel stages: L1, gradient, VGG perceptual, and an adversary.

The perceptual loss uses the shift-tolerant VGG-16 that ships inside `stlpips-pytorch` (Kettunen
et al. 2019; Ghildyal & Liu 2022). The evaluation metric's AlexNet weights are never loaded here.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


def gradient_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical pixel gradients."""
    difference = output - target
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


class PerceptualLoss(nn.Module):
    """Calibrated distance of shift-tolerant VGG-16 features; pictures `(B, 3, H, W)` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        from stlpips_pytorch import stlpips

        self.net = stlpips.LPIPS(net="vgg", variant="shift_tolerant", verbose=False).eval()
        self.net.requires_grad_(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.net(output * 2 - 1, target * 2 - 1).mean()


class Discriminator(nn.Module):
    """Patch critic with spectral norm: `(B, 3, H, W)` → `(B, 1, H/8, W/8)` logits."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        widths = (3, width, width * 2, width * 4)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [_critic_conv(before, after, 3, 1), _critic_conv(after, after, 4, 2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels * 2 - 1)


def _critic_conv(before: int, after: int, kernel: int, stride: int) -> nn.Sequential:
    conv = spectral_norm(nn.Conv2d(before, after, kernel, stride, padding=1))
    return nn.Sequential(conv, nn.LeakyReLU(0.2))


def relativistic_losses(critic: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of critic and generator, relativistic average (Jolicoeur-Martineau 2018)."""
    logits_real, logits_fake = critic(real), critic(fake.detach())
    critic_loss = _relative(logits_real, logits_fake)
    critic.requires_grad_(False)
    with torch.no_grad():
        logits_real = critic(real)
    generator_loss = _relative(critic(fake), logits_real)
    critic.requires_grad_(True)
    return critic_loss, generator_loss


def _relative(higher: Tensor, lower: Tensor) -> Tensor:
    above = F.softplus(-(higher - lower.mean()))
    below = F.softplus(lower - higher.mean())
    return (above.mean() + below.mean()) / 2
