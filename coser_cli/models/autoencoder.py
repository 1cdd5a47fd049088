"""AutoencoderKL, with diffusers' parameter names.

This and `models/cfw.py` know that networks see pixels in [-1, 1] and that latents carry a scaling
factor. Structure: latent diffusion's KL autoencoder.
The encoder and decoder are put together here, as diffusers' own give no access to the features of
their levels, and importing them imports every autoencoder diffusers has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.config import AutoencoderConfig, LightAutoencoderConfig
from coser_cli.models.attention import Attention, to_maps, to_tokens
from coser_cli.models.resnet import Upsample

Features = tuple[Tensor, ...]
Fuse = Callable[[int, Tensor], Tensor]

EPS = 1e-6


def _norm(config: AutoencoderConfig, channels: int) -> nn.Module:
    groups = config.norm_num_groups
    return nn.GroupNorm(groups, channels, eps=EPS) if groups else nn.Identity()


class ResnetBlock(nn.Module):
    """Norm, SiLU and convolution, twice; added to the input, which is brought to the same width.

    What diffusers' `ResnetBlock2D` is without time embedding.
    """

    def __init__(self, config: AutoencoderConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(config, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(config, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        wider = in_channels != out_channels
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if wider else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norm1(x))
        h = F.silu(self.norm2(self.conv1(h)))
        skip = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return skip + self.conv2(h)


class Downsample(nn.Module):
    """Half the size. Filled up right and bottom only, as latent diffusion does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return halved


def _resnets(
    config: AutoencoderConfig, count: int, in_channels: int, out_channels: int
) -> nn.ModuleList:
    widths = [in_channels] + [out_channels] * (count - 1)
    return nn.ModuleList(ResnetBlock(config, width, out_channels) for width in widths)


class MapAttention(Attention):
    """Single-head self-attention over all positions of a map, with its norm and residual."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(channels, heads=1, head_dim=channels, bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, eps=EPS)

    def forward(self, maps: Tensor, context: Tensor | None = None) -> Tensor:
        tokens = super().forward(to_tokens(self.group_norm(maps)), context)
        return maps + to_maps(tokens, *maps.shape[-2:])


class MidBlock(nn.Module):
    """Two residual blocks, with attention between them if the config has it."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        width = config.block_out_channels[-1]
        self.resnets = _resnets(config, 2, width, width)
        self.attentions = nn.ModuleList()
        if config.mid_block_attention:
            self.attentions.append(MapAttention(width, config.norm_num_groups))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.resnets
        x = first(x)
        for attention in self.attentions:
            x = attention(x)
        result: Tensor = second(x)
        return result


class Level(nn.Module):
    """The residual blocks of one resolution; its resampler, if any, is called by its owner."""

    def __init__(
        self, config: AutoencoderConfig, count: int, in_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        self.resnets = _resnets(config, count, in_channels, out_channels)
        self.downsamplers = nn.ModuleList()
        self.upsamplers = nn.ModuleList()

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x


def _levels(config: AutoencoderConfig, count: int, widths: tuple[int, ...]) -> list[Level]:
    incoming = (widths[0], *widths[:-1])
    return [Level(config, count, *pair) for pair in zip(incoming, widths, strict=True)]


class _Stack(nn.Module):
    """What encoder and decoder have in common: the last norm, activation and convolution."""

    conv_norm_out: nn.Module
    conv_out: nn.Conv2d

    def finish(self, x: Tensor) -> Tensor:
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Encoder(_Stack):
    """`(B, 3, H, W)` in [-1, 1] → `(B, 2·latent, H/f, W/f)` and the output of each level."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.patch_size = config.patch_size
        self.conv_in = nn.Conv2d(3 * config.patch_size**2, widths[0], 3, padding=1)
        levels = _levels(config, config.layers_per_block, widths)
        for level, width in zip(levels[:-1], widths, strict=False):
            level.downsamplers.append(Downsample(width))
        self.down_blocks = nn.ModuleList(levels)
        self.mid_block = MidBlock(config)
        self.conv_norm_out = _norm(config, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Features]:
        features: list[Tensor] = []
        x = self.conv_in(F.pixel_unshuffle(x, self.patch_size))
        for level in cast("list[Level]", self.down_blocks):
            x = level(x)
            features.append(x)
            for downsampler in level.downsamplers:
                x = downsampler(x)
        return self.finish(self.mid_block(x)), tuple(features)


class Decoder(_Stack):
    """`(B, latent, h, w)` → `(B, 3, f·h, f·w)`, nominally [-1, 1].

    `fuse(level, x)` may change the output of a level before it is enlarged; level 0 is the last.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(config)
        levels = _levels(config, config.layers_per_block + 1, widths)
        for level, width in zip(levels[:-1], widths, strict=False):
            level.upsamplers.append(Upsample(width))
        self.up_blocks = nn.ModuleList(levels)
        self.conv_norm_out = _norm(config, widths[-1])
        self.patch_size = config.patch_size
        self.conv_out = nn.Conv2d(widths[-1], 3 * config.patch_size**2, 3, padding=1)

    def forward(self, latents: Tensor, fuse: Fuse | None = None) -> Tensor:
        x = self.mid_block(self.conv_in(latents))
        for index, level in enumerate(cast("list[Level]", self.up_blocks)):
            x = level(x)
            x = x if fuse is None else fuse(len(self.up_blocks) - 1 - index, x)
            for upsampler in level.upsamplers:
                x = upsampler(x)
        return F.pixel_shuffle(self.finish(x), self.patch_size)


class PatchEncoder(nn.Module):
    """`(B, 3, 4h, 4w)` in [0, 1] → `(B, latent, h, w)`: one convolution of folded pixels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        folded = 3 * config.patch_size**2
        self.conv_in = nn.Conv2d(folded, config.latent_channels, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        latents: Tensor = self.conv_in(F.pixel_unshuffle(pixels, self.patch_size))
        return latents


class EnlargingDecoder(nn.Module):
    """`(B, latent, h, w)` → `(B, 3, 4h, 4w)`, nominally [0, 1]: nearest ×2 and a convolution,
    twice, as ESRGAN's generator ends (Wang et al. 2018): no mesh by construction.
    """

    activation = staticmethod(partial(F.leaky_relu, negative_slope=0.2))

    def __init__(self, latent_channels: int, shape: LightAutoencoderConfig) -> None:
        super().__init__()
        width, finest = shape.width, shape.up_width
        self.upconv1 = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.upconv2 = nn.Conv2d(width, finest, 3, padding=1)
        self.conv_hr = nn.Conv2d(finest, finest, 3, padding=1)
        self.conv_out = nn.Conv2d(finest, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = latents
        for upconv in (self.upconv1, self.upconv2):
            x = self.activation(upconv(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        pixels: Tensor = self.conv_out(self.activation(self.conv_hr(x)))
        return pixels


class Autoencoder(nn.Module):
    """KL autoencoder between pixels `(B, 3, H, W)` in [0, 1] and scaled latents `(B, 4, h, w)`.

    H and W must be multiples of the down-factor. Parameter names: diffusers' `AutoencoderKL`.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        latent = config.latent_channels
        if config.light is not None:
            self.encoder: nn.Module = PatchEncoder(config)
            self.decoder: nn.Module = EnlargingDecoder(latent, config.light)
            return
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)

    def moments(self, pixels: Tensor) -> Tensor:
        """Mean and log-variance `(B, 2·4, h, w)` of the posterior, not scaled."""
        return self.quant_conv(self.encoder(pixels * 2 - 1)[0])

    def encode(self, pixels: Tensor) -> Tensor:
        """Mode of the posterior `(B, 4, h, w)`, scaled."""
        return self.encode_with_features(pixels)[0]

    def encode_with_features(self, pixels: Tensor) -> tuple[Tensor, Features]:
        """`encode`, and the output of every encoder level before its downsampling, finest first."""
        if self.config.light is not None:
            return self.encoder(pixels), ()
        encoded, features = self.encoder(pixels * 2 - 1)
        mean = self.quant_conv(encoded).chunk(2, dim=1)[0]
        return mean * self.config.scaling_factor, features

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels `(B, 3, H, W)`, nominally [0, 1], not clamped."""
        if self.config.light is not None:
            return self.decoder(latents)
        x: Tensor = self.decoder(self.post_quant_conv(latents / self.config.scaling_factor))
        return (x + 1) / 2
