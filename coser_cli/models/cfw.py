"""Controllable feature wrapping (StableSR): a decoder that takes detail of the LR picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coser_cli.config import CFWConfig
from coser_cli.models.autoencoder import Decoder, Encoder, Features, ResnetBlock
from coser_cli.models.dense import ResidualInResidual


class Fusion(nn.Module):
    """What the encoder's features of one level add to the decoder's: both `(B, C, h, w)`."""

    def __init__(self, config: CFWConfig, channels: int) -> None:
        super().__init__()
        growth = config.growth_channels
        self.merge = ResnetBlock(config.autoencoder, 2 * channels, channels)
        self.blocks = nn.Sequential(
            *(ResidualInResidual(channels, growth) for _ in range(config.num_fuse_blocks))
        )
        self.finish = ResnetBlock(config.autoencoder, channels, channels)

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        merged = self.merge(torch.cat((encoded, decoded), dim=1))
        finished: Tensor = self.finish(self.blocks(merged))
        return finished


class CFWDecoder(nn.Module):
    """Decoder that takes detail from the encoder features of the low-resolution picture.

    At every level of `config.fuse_levels`: x + fidelity · fusion([encoder features, x]).
    """

    def __init__(self, config: CFWConfig) -> None:
        super().__init__()
        self.config = config
        latent = config.autoencoder.latent_channels
        if config.own_encoder:
            self.encoder = Encoder(config.autoencoder)
            self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.decoder = Decoder(config.autoencoder)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)
        widths = config.autoencoder.block_out_channels
        self.fusions = nn.ModuleDict(
            {str(level): Fusion(config, widths[level]) for level in config.fuse_levels}
        )

    def features(self, pixels: Tensor) -> Features:
        """Own encoder's level outputs, finest first, of pixels `(B, 3, H, W)` in [0, 1].

        Raises AttributeError where the config has `own_encoder` off.
        """
        return self.encoder(pixels * 2 - 1)[1]

    def moments(self, pixels: Tensor) -> Tensor:
        """Posterior moments `(B, 2·4, h, w)` of the own encoder, not scaled."""
        return self.quant_conv(self.encoder(pixels * 2 - 1)[0])

    def decode(self, latents: Tensor, features: Features, fidelity: float | Tensor) -> Tensor:
        """Pixels `(B, 3, H, W)`, nominally [0, 1], not clamped.

        `features` are the encoder's outputs of the picture by level, finest first; `fidelity` 0
        ignores them, 1 takes all of them; a tensor broadcasts.
        """
        is_used = isinstance(fidelity, Tensor) or fidelity != 0

        def fuse(level: int, x: Tensor) -> Tensor:
            if level not in self.config.fuse_levels or not is_used:
                return x
            change = self.fusions[str(level)](features[level], x)
            if isinstance(fidelity, Tensor):
                return x + fidelity * change
            return torch.add(x, change, alpha=fidelity)

        latents = latents / self.config.autoencoder.scaling_factor
        return (self.decoder(self.post_quant_conv(latents), fuse) + 1) / 2
