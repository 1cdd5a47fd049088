"""The forward process and its regression target."""

from __future__ import annotations

import torch
from torch import Tensor

from coser_cli.config import ScheduleConfig
from coser_cli.sampling.schedulers import alphas_cumprod


class Forward:
    """Noises latents `(B, C, h, w)` and compares predictions.

    The loss is the mean squared error of what is predicted (ε as published, or v). With `snr_cap`
    γ > 0 it is weighted as min(SNR, γ) of x_0's error (Hang et al. 2023).
    """

    def __init__(
        self, config: ScheduleConfig, device: torch.device | None = None, snr_cap: float = 0.0
    ) -> None:
        self.config, self.snr_cap = config, snr_cap
        self.alphas_cumprod = alphas_cumprod(config).float().to(device)

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Timesteps of uniform numbers in [0, 1)."""
        return (uniform.float() * self.config.num_train_timesteps).long()

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t."""
        signal, sigma = self._factors(timesteps)
        return signal * latents + sigma * noise

    def clean(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """x_0 that an output stands for."""
        signal, sigma = self._factors(timesteps)
        if self.config.prediction_type == "v_prediction":
            return signal * noisy - sigma * output
        return (noisy - sigma * output) / signal

    def loss(self, output: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The loss of each example, `(B,)`."""
        signal, sigma = self._factors(timesteps)
        is_v = self.config.prediction_type == "v_prediction"
        target = signal * noise - sigma * latents if is_v else noise
        error = (output.float() - target).square().mean((1, 2, 3))
        if not self.snr_cap:
            return error
        ratio = (signal / sigma).square().flatten()
        return error * ratio.clamp_max(self.snr_cap) / (ratio + 1 if is_v else ratio)

    def _factors(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        cumulative = self.alphas_cumprod[timesteps][:, None, None, None]
        return cumulative.sqrt(), (1 - cumulative).sqrt()
