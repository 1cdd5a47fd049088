"""Stages "unet" (text-conditional base) and "restoration" (AiA and ControlNet, base frozen).

Sampling starts from the noised latents of the LR picture, not of the HR one. Half of the training
examples therefore carry a share of the LR latents in what is noised, while the target stays the HR
latents: the network learns to leave its starting point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coser_cli.config import ScheduleConfig
from coser_cli.models.controlnet import ControlNet
from coser_cli.models.unet import Controls, UNet
from coser_cli.training.latents import Captions, LatentPool


class Forward:
    """The forward process and its regression target.

    The error is measured on v (Salimans & Ho 2022) or epsilon, weighted by min(SNR, cap)
    (Hang et al. 2023).
    """

    def __init__(
        self,
        config: ScheduleConfig,
        device: torch.device | None = None,
        snr_cap: float = 5.0,
    ) -> None:
        self.config, self.snr_cap = config, snr_cap
        roots = torch.linspace(
            config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps
        )
        self.alphas_cumprod = torch.cumprod(1 - roots.double() ** 2, 0).float().to(device)

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t of `(B, 4, h, w)` latents."""
        signal, sigma = self._factors(timesteps)
        return signal * latents + sigma * noise

    def clean(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """x_0 that an output stands for."""
        signal, sigma = self._factors(timesteps)
        if self.config.prediction_type == "v_prediction":
            return signal * noisy - sigma * output
        return (noisy - sigma * output) / signal

    def loss(self, output: Tensor, noisy: Tensor, latents: Tensor, timesteps: Tensor) -> Tensor:
        """Squared error of x_0 times min(SNR, cap), `(B,)`."""
        signal, sigma = self._factors(timesteps)
        weight = (signal / sigma).square().flatten().clamp_max(self.snr_cap)
        error = (self.clean(output.float(), noisy, timesteps) - latents).square()
        return weight * error.mean((1, 2, 3))

    def _factors(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        cumulative = self.alphas_cumprod[timesteps][:, None, None, None]
        return cumulative.sqrt(), (1 - cumulative).sqrt()


@dataclass(frozen=True)
class Draw:
    """One training example batch: latents `(B, 4, h, w)`, what the network sees of them, and the
    photos they are from."""

    high: Tensor
    low: Tensor
    noisy: Tensor
    timesteps: Tensor
    photos: np.ndarray
    rows: np.ndarray


class Examples:
    """Draws batches. `depth` bends the choice of timesteps: 1 is uniform, 2 prefers early ones."""

    def __init__(
        self, forward: Forward, pool: LatentPool, batch: int, crop: int, seed: int, depth: float
    ) -> None:
        self.forward, self.pool = forward, pool
        self.batch, self.crop, self.seed, self.depth = batch, crop, seed, depth

    def __call__(self, step: int) -> Draw:
        device, count = self.forward.alphas_cumprod.device, self.forward.config.num_train_timesteps
        high, low, rows = self.pool.batch(self.batch, self.crop, self.seed, step)
        high, low = high.to(device), low.to(device)
        share, mixed, depth = torch.rand(3, self.batch, device=device)
        share = (share * (mixed < 0.5))[:, None, None, None]
        timesteps = (depth**self.depth * count).long()
        noisy = self.forward.noisy(high + share * (low - high), torch.randn_like(high), timesteps)
        return Draw(high, low, noisy, timesteps, self.pool.photo[rows], rows)


class UNetStage:
    """Base denoiser. Contexts as at inference: a caption's states; or the empty prompt's with L'
    behind them (what E imitates); or the empty prompt's alone, for guidance."""

    def __init__(self, unet: UNet, examples: Examples, captions: Captions) -> None:
        self.unet, self.examples, self.captions = unet, examples, captions

    def __call__(self, step: int) -> dict[str, Tensor]:
        draw = self.examples(step)
        context = self.unet.prepare_context([self._context(draw.photos, step)])
        output = self.unet(draw.noisy, draw.timesteps, context)
        forward = self.examples.forward
        loss = forward.loss(output, draw.noisy, draw.high, draw.timesteps).mean()
        return {"loss": loss, **_skill(forward, output, draw)}

    def _context(self, photos: np.ndarray, step: int) -> Tensor:
        rows = torch.as_tensor(photos)
        empty = self.captions.empty.expand(len(rows), -1, -1)
        kind = step % 10
        if kind == 0:
            return empty
        if kind < 5:
            return self.captions.text[rows]
        return torch.cat((empty, self.captions.selected[rows]), dim=1)


class RestorationStage:
    """AiA attentions and ControlNet learn to denoise HR latents, given LR latents and a reference.

    The reference is a real photo's latents (spec sec. 9): another crop of the same photo where the
    pool has one, which plays the part of a nearest neighbour. Context: E behind the caption's or
    the empty prompt's states, in turns.
    """

    def __init__(
        self,
        unet: UNet,
        controlnet: ControlNet,
        examples: Examples,
        captions: Captions,
        embeddings: Tensor,
    ) -> None:
        self.unet, self.controlnet, self.examples = unet, controlnet, examples
        self.captions, self.embeddings = captions, embeddings

    def __call__(self, step: int) -> dict[str, Tensor]:
        draw = self.examples(step)
        reference = self.examples.pool.siblings(draw.rows, self.examples.crop, step).to(draw.low)
        photos, rows = torch.as_tensor(draw.photos), torch.as_tensor(draw.rows)
        text = self.captions.text[photos]
        text = self.captions.empty.expand_as(text) if step % 2 else text
        context = [torch.cat((text, self.embeddings[rows].float()), dim=1)]
        hints = torch.cat((draw.low, reference))
        prepared = self.controlnet.prepare_context(context)
        maps = self.controlnet(draw.noisy, draw.timesteps, hints, prepared)
        low, ref = zip(*(m.chunk(2) for m in maps), strict=True)
        output = self.unet(
            draw.noisy, draw.timesteps, self.unet.prepare_context(context), Controls(low, ref)
        )
        forward = self.examples.forward
        loss = forward.loss(output, draw.noisy, draw.high, draw.timesteps).mean()
        return {"loss": loss, **_skill(forward, output, draw)}


@torch.no_grad()
def _skill(forward: Forward, output: Tensor, draw: Draw) -> dict[str, Tensor]:
    """Error of x_0 over the error of the LR latents, for early and for late timesteps: at 1 the
    network has learnt nothing that the input does not say."""
    clean = forward.clean(output.float(), draw.noisy, draw.timesteps)
    ratio = (clean - draw.high).square().mean((1, 2, 3))
    ratio = ratio / (draw.low - draw.high).square().mean((1, 2, 3)).mean()
    early = draw.timesteps < forward.config.num_train_timesteps // 4
    named = {"early": ratio[early], "late": ratio[~early]}
    return {name: value.mean() for name, value in named.items() if len(value)}
