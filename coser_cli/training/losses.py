"""Losses of the pixel stages: L1 with gradients, VGG perceptual, and an adversary.

The perceptual loss uses the shift-tolerant VGG-16 that ships inside `stlpips-pytorch` (Kettunen
et al. 2019; Ghildyal & Liu 2022). The evaluation metric's AlexNet weights are never loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from coser_cli.errors import UsageError
from coser_cli.training.examples import Batch

PATCH = 64
"""Side in pixels of the patches that the perceptual loss and the critic look at."""


def gradient_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical pixel gradients."""
    difference = output - target
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


@torch.no_grad()
def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Mean PSNR in dB of pictures `(B, 3, H, W)` in [0, 1] over all channels, for the log."""
    error = (output.clamp(0, 1) - target).square().mean((1, 2, 3))
    return -10 * error.clamp_min(1e-10).log10().mean()


def inner(pixels: Tensor, border: int) -> Tensor:
    """Pixels `(B, 3, H, W)` without `border` of them at each side: there a crop's networks see
    less than they would see in the picture."""
    return pixels[..., border:-border, border:-border] if border else pixels


def damage(low: Tensor, high: Tensor) -> Tensor:
    """How far LR pictures `(B, 3, h, w)` are from the reduced HR pictures: RMS `(B,)` in levels of
    255; below 0.6 where reducing and rounding was all."""
    reduced = F.interpolate(high, low.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
    return 255 * (reduced - low).square().mean((1, 2, 3)).sqrt()


@dataclass(frozen=True)
class PictureWeights:
    """Weights of the loss terms; a term of weight 0 is not computed.

    `teacher` and `truth`: L1, with `gradient` times the L1 of gradients, to the teacher's picture
    and to the HR picture. `perceptual` and `adversarial` compare with the teacher's picture, or
    with the HR picture where there is none. `border`: pixels at each side that do not count.

    `teacher_share`: pairs (damage, share in [0, 1]), damage ascending: `truth` then compares with a
    blend of the HR picture and this share of the teacher's, if there is one, interpolated between
    the pairs (`damage`). A blind teacher smooths pictures that nothing has damaged, so there the
    truth counts more.
    """

    teacher: float = 0.0
    truth: float = 1.0
    gradient: float = 0.5
    perceptual: float = 0.0
    adversarial: float = 0.0
    border: int = 0
    teacher_share: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        pairs = self.teacher_share
        if any(len(pair) != 2 for pair in pairs) or list(pairs) != sorted(set(pairs)):
            raise UsageError(
                f"teacher_share is {pairs}, but must be pairs of damage and share",
                "write them with the damage ascending, such as [[0, 0.3], [12, 0.85]]",
            )


class PictureLoss:
    """Compares pictures; `(output, batch)` → scalars, and what the critic is asked about."""

    def __init__(self, weights: PictureWeights, device: torch.device) -> None:
        self.weights = weights
        self.perceptual = PerceptualLoss().to(device) if weights.perceptual else None
        self.critic = Critic().to(device) if weights.adversarial else None

    def __call__(self, output: Tensor, batch: Batch, low: Tensor) -> dict[str, Any]:
        """`output` and `low` `(B, 3, H, W)`; `low` is the picture that the output started from."""
        weights = self.weights
        output, low = (inner(x.float(), weights.border) for x in (output, low))
        targets = {"truth": inner(batch["high"], weights.border)}
        if "teacher" in batch:
            targets["teacher"] = inner(batch["teacher"], weights.border)
        aims = targets
        if weights.teacher_share and "teacher" in targets:
            aims = targets | {"truth": self._blended(batch, targets)}
        terms: dict[str, Any] = self._absolute(output, aims)
        if not output.is_meta:
            terms |= {f"psnr_{name}": psnr(output, each) for name, each in targets.items()}
        if self.perceptual is not None or self.critic is not None:
            real = targets.get("teacher", targets["truth"])
            patches = _patches((output, real, low.detach()), batch)
            terms |= self._of_patches(*patches)
        named = {"l1": 1.0, "perceptual": weights.perceptual, "adversarial": weights.adversarial}
        terms["loss"] = sum(terms[name] * weight for name, weight in named.items() if name in terms)
        return terms

    def _blended(self, batch: Batch, targets: Mapping[str, Tensor]) -> Tensor:
        known, shares = np.array(self.weights.teacher_share).T
        if batch["low"].is_meta:
            return targets["truth"]
        damages = damage(batch["low"], batch["high"]).cpu().numpy()
        share = targets["truth"].new_tensor(np.interp(damages, known, shares))
        return torch.lerp(targets["truth"], targets["teacher"], share[:, None, None, None])

    def _absolute(self, output: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        total = output.new_zeros(())
        for name, target in targets.items():
            weight = getattr(self.weights, name)
            if weight:
                error = (output - target).abs().mean()
                error = error + self.weights.gradient * gradient_loss(output, target)
                total = total + weight * error
        return {"l1": total}

    def _of_patches(self, output: Tensor, real: Tensor, low: Tensor) -> dict[str, Any]:
        terms: dict[str, Any] = {}
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(output, real)
        if self.critic is not None:
            self.critic.requires_grad_(False)
            terms["adversarial"] = F.softplus(-self.critic(output, low).float()).mean()
            self.critic.requires_grad_(True)
            terms["critic"] = (real, output.detach(), low)
        return terms


def _patches(pictures: tuple[Tensor, ...], batch: Batch) -> list[Tensor]:
    """The same patch of all pictures, at a place that depends on the example, not on the batch."""
    height, width = pictures[0].shape[2:]
    side = min(PATCH, height, width)
    if pictures[0].is_meta:
        return [picture[..., :side, :side] for picture in pictures]
    generators = [np.random.default_rng(int(seed)) for seed in batch["seed"]]
    places = [
        (int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)))
        for rng in generators
    ]
    return [
        torch.stack(
            [p[:, y : y + side, x : x + side] for p, (y, x) in zip(picture, places, strict=True)]
        )
        for picture in pictures
    ]


class PerceptualLoss(nn.Module):
    """Calibrated distance of shift-tolerant VGG-16 features; pictures `(B, 3, H, W)` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        from stlpips_pytorch import stlpips

        self.net = stlpips.LPIPS(net="vgg", variant="shift_tolerant", verbose=False).eval()
        self.net.requires_grad_(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.net(output * 2 - 1, target * 2 - 1).float().mean()


class Critic(nn.Module):
    """U-Net critic with spectral norm (Wang et al. 2021, sec. 3.2): pictures `(B, 3, H, W)`, and
    what they were made from, both in [0, 1], → logits `(B, 1, H, W)`. H, W: multiples of 8."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        wide, widest = 2 * width, 4 * width
        self.first = nn.Conv2d(6, width, 3, padding=1)
        self.down = nn.ModuleList(
            [_conv(width, wide, 4), _conv(wide, widest, 4), _conv(widest, widest, 4)]
        )
        self.up = nn.ModuleList([_conv(widest, widest), _conv(widest, wide), _conv(wide, width)])
        self.last = nn.Sequential(
            _conv(width, width), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3, padding=1)
        )

    def forward(self, pixels: Tensor, low: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(torch.cat((pixels, low), dim=1) * 2 - 1), 0.2)
        skips = []
        for down in self.down:
            skips.append(x)
            x = F.leaky_relu(down(x), 0.2)
        for up in self.up:
            enlarged = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = F.leaky_relu(up(enlarged), 0.2) + skips.pop()
        logits: Tensor = self.last(x)
        return logits


class CriticLoss(nn.Module):
    """What a critic minimises: `(real, fake, low)` → the non-saturating loss (Goodfellow 2014)."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, real: Tensor, fake: Tensor, low: Tensor) -> Tensor:
        of_real = F.softplus(-self.critic(real, low).float()).mean()
        of_fake = F.softplus(self.critic(fake, low).float()).mean()
        return (of_real + of_fake) / 2


def _conv(before: int, after: int, kernel: int = 3) -> nn.Module:
    """A convolution with spectral norm; one of 4 × 4 halves the size."""
    stride = 2 if kernel == 4 else 1
    return spectral_norm(nn.Conv2d(before, after, kernel, stride, padding=1, bias=False))
