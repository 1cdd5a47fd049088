"""Stages that train on pixels: SRResNet, its sharpening, the autoencoder, and CFW."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.cfw import CFWDecoder
from coser_cli.models.srresnet import SRResNet
from coser_cli.training.losses import (
    Discriminator,
    PerceptualLoss,
    gradient_loss,
    relativistic_losses,
)

Batches = Iterator[tuple[Tensor, Tensor, np.ndarray]]


@dataclass(frozen=True)
class PixelWeights:
    """Weights of the loss terms; a term of weight 0 is not computed."""

    gradient: float = 0.0
    perceptual: float = 0.0
    adversarial: float = 0.0
    kl: float = 0.0


class PictureLoss:
    """Compares pictures: L1, and whatever `weights` ask for. Callable on `(output, target)`."""

    def __init__(self, weights: PixelWeights, device: torch.device) -> None:
        self.weights = weights
        self.perceptual = PerceptualLoss().to(device) if weights.perceptual else None
        self.critic: nn.Module | None = None

    def __call__(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`loss`, its terms, and `critic` where there is an adversary."""
        output = output.float()
        terms = {"l1": (output - target).abs().mean()}
        loss = terms["l1"]
        if self.weights.gradient:
            loss = loss + self.weights.gradient * gradient_loss(output, target)
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(output, target)
            loss = loss + self.weights.perceptual * terms["perceptual"]
        if self.critic is not None:
            terms["critic"], terms["adversarial"] = relativistic_losses(self.critic, target, output)
            loss = loss + self.weights.adversarial * terms["adversarial"]
        return {"loss": loss, **terms}


def make_critic(weights: PixelWeights) -> nn.Module | None:
    """An adversary if the weights ask for one."""
    return Discriminator() if weights.adversarial else None


class SRResNetStage:
    """HR from LR."""

    def __init__(self, net: nn.Module, batches: Batches, picture_loss: PictureLoss) -> None:
        self.net, self.batches, self.picture_loss = net, batches, picture_loss

    def __call__(self, step: int) -> dict[str, Tensor]:
        high, low, _ = next(self.batches)
        return self.picture_loss(self.net(low), high)


class AutoencoderStage:
    """HR from its own sampled latent, with a light KL term on the posterior."""

    def __init__(self, net: Autoencoder, batches: Batches, picture_loss: PictureLoss) -> None:
        self.net, self.batches, self.picture_loss = net, batches, picture_loss

    def __call__(self, step: int) -> dict[str, Tensor]:
        high, _, _ = next(self.batches)
        mean, log_variance = self.net.moments(high).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-30, 20)
        latents = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
        losses = self.picture_loss(self.net.decode(latents * self.net.config.scaling_factor), high)
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        return {**losses, "loss": losses["loss"] + self.picture_loss.weights.kl * kl, "kl": kl}


class CFWStage:
    """HR from a latent between the LR picture's and the HR picture's own, with LR features.

    Latents are mixed as low + m·(high - low), m drawn from [0, 1] with half of the mass at 0, so
    that the decoder serves both no diffusion at all and full restoration; `fidelity` is drawn too.
    """

    def __init__(
        self,
        net: CFWDecoder,
        autoencoder: Autoencoder,
        srresnet: SRResNet,
        batches: Batches,
        picture_loss: PictureLoss,
    ) -> None:
        self.net, self.autoencoder, self.srresnet = net, autoencoder.eval(), srresnet.eval()
        self.batches, self.picture_loss = batches, picture_loss

    def __call__(self, step: int) -> dict[str, Tensor]:
        high, low, _ = next(self.batches)
        with torch.no_grad():
            enlarged = self.srresnet(low).clamp(0, 1)
            low_latents, features = self.autoencoder.encode_with_features(enlarged)
            mix = (torch.rand(len(high), 1, 1, 1, device=high.device) * 2 - 1).clamp_min(0)
            latents = low_latents + mix * (self.autoencoder.encode(high) - low_latents)
        fidelity = torch.rand(len(high), 1, 1, 1, device=high.device)
        return self.picture_loss(self.net.decode(latents, features, fidelity), high)
