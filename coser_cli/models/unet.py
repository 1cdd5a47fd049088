"""Denoising U-Net of Stable Diffusion with All-in-Attention in its middle and decoder.

Parameter names are those of diffusers' `UNet2DConditionModel`; the All-in-Attention's own begin
with `low_res_`, `reference_` or `condition_`. The encoder half is shared with the ControlNet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.config import ControlNetConfig, UNetConfig
from coser_cli.models.aia import AiATransformer, ControlMaps, initialise_from_base
from coser_cli.models.attention import match_batch
from coser_cli.models.resnet import (
    EPS,
    Downsample,
    PreparedTime,
    ResnetBlock,
    TimestepEmbedding,
    Upsample,
    group_norm,
    number_resnets,
)
from coser_cli.models.transformer import (
    PreparedContext,
    SpatialTransformer,
    number_transformers,
    prepare_context,
)

Time = PreparedTime | Tensor | int
"""Prepared, or timesteps `(B,)`, or one for all, counted in the training schedule."""


@dataclass(frozen=True)
class Controls:
    """The ControlNet's maps, finest first, the middle's last, as `ControlNet.forward` returns them.

    `low_res`: of the low-resolution image, batch B. `reference`: of N reference images, batch N·B,
    reference-major, or None to leave the reference attention out. `weights` `(2,)` of the attention
    to the one and to the other; None: both are 1. `conditions`: of the further conditions in the
    order of `UNetConfig.conditions`, batch B each, or None to leave one out.
    """

    low_res: tuple[Tensor, ...]
    reference: tuple[Tensor, ...] | None = None
    weights: Tensor | None = None
    conditions: tuple[tuple[Tensor, ...] | None, ...] = ()

    def at(self, index: int, names: Sequence[str]) -> ControlMaps:
        """The maps of one place; `names` are those of `conditions`."""
        maps = {"low_res": self.low_res, "reference": self.reference}
        maps |= dict(zip(names, self.conditions, strict=False))
        return {name: each[index] for name, each in maps.items() if each is not None}


class Level(nn.Module):
    """One resolution of the U-Net, as a container: `resnets`, `attentions` (one per residual block
    or none), and its resampler, if any, under diffusers' name.
    """

    def __init__(self, resnets: list[nn.Module], attentions: list[SpatialTransformer]) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList()
        self.upsamplers = nn.ModuleList()

    def steps(self) -> Iterator[tuple[nn.Module, nn.Module | None]]:
        """Each residual block with its transformer, or with None."""
        return zip_longest(self.resnets, self.attentions)


def levels(blocks: Iterable[nn.Module]) -> Iterator[Level]:
    """The levels in a list of them."""
    return (block for block in blocks if isinstance(block, Level))


class UNetEncoder(nn.Module):
    """Encoder half: `conv_in`, `time_embedding`, `down_blocks`, `mid_block`."""

    def __init__(self, config: UNetConfig | ControlNetConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.time_embedding = TimestepEmbedding(widths[0])
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            self._down_level(config, level) for level in range(len(widths))
        )
        width = widths[-1]
        resnets: list[nn.Module] = [make_resnet(config, width, width) for _ in range(2)]
        self.mid_block = Level(resnets, [self.make_middle(config)])

    def _down_level(self, config: UNetConfig | ControlNetConfig, level: int) -> Level:
        widths = config.block_out_channels
        width, count = widths[level], config.layers_per_block
        incoming = [widths[max(level - 1, 0)]] + [width] * (count - 1)
        attentive = 2**level in config.attention_factors
        block = Level(
            [make_resnet(config, previous, width) for previous in incoming],
            [make_transformer(config, width) for _ in range(count if attentive else 0)],
        )
        if level < len(widths) - 1:
            block.downsamplers.append(Downsample(width))
        return block

    def make_middle(self, config: UNetConfig | ControlNetConfig) -> SpatialTransformer:
        """The transformer of the middle block."""
        return make_transformer(config, config.block_out_channels[-1])

    def transformers(self) -> Iterator[SpatialTransformer]:
        """All transformers, in the order of a `PreparedContext`."""
        return (module for module in self.modules() if isinstance(module, SpatialTransformer))

    def prepare_context(self, contexts: Sequence[Tensor]) -> PreparedContext:
        """Keys and values of every cross-attention for contexts `(B or 1, L, context_dim)`, one per
        guidance branch; the lengths may differ. Once per image.
        """
        return prepare_context(self.transformers(), contexts)

    @property
    def shallow(self) -> int:
        """How many of the maps, the finest ones, belong to the first level."""
        return 1 + len(next(levels(self.down_blocks)).resnets)

    def resnets(self) -> Iterator[ResnetBlock]:
        """All residual blocks, in the order of a `PreparedTime`."""
        return (module for module in self.modules() if isinstance(module, ResnetBlock))

    def prepare_time(self, time: Time, like: Tensor) -> PreparedTime:
        """What T timesteps add in every residual block, with the device and dtype of `like`."""
        if isinstance(time, PreparedTime):
            return time
        steps = torch.as_tensor(time, device=like.device).reshape(-1)
        embedding = self.time_embedding(steps, like.dtype)
        return PreparedTime(tuple(resnet.time_shift(embedding) for resnet in self.resnets()))

    def prepare_times(self, timesteps: Sequence[int], like: Tensor) -> Mapping[int, PreparedTime]:
        """`prepare_time` for each of the timesteps, by one call. Once per walk."""
        prepared = self.prepare_time(torch.tensor(timesteps), like)
        return {timestep: prepared.at(index) for index, timestep in enumerate(timesteps)}

    def number(self) -> None:
        """Give every block its place in what is prepared; once all of them are made."""
        number_transformers(self.transformers())
        number_resnets(self.resnets())

    def encode(
        self,
        x: Tensor,
        time: PreparedTime,
        context: PreparedContext,
        batch: int,
        first: int = 0,
        last: int | None = None,
    ) -> list[Tensor]:
        """The maps of the encoder's levels from `first` to before `last`, finest first, behind what
        enters there: `x`, which is the output of `conv_in` for level 0.
        """
        maps = [x]
        for block in levels(self.down_blocks[first:last]):
            for resnet, attention in block.steps():
                x = resnet(x, time)
                x = x if attention is None else attention(x, context, batch)
                maps.append(x)
            for downsampler in block.downsamplers:
                x = downsampler(x)
                maps.append(x)
        return maps

    def middle(
        self,
        x: Tensor,
        time: PreparedTime,
        context: PreparedContext,
        batch: int,
        *controls: ControlMaps | Tensor | None,
    ) -> Tensor:
        """The middle block: map `(B, C, h, w)` → `(branches·B, C, h, w)`; `controls` only where its
        transformer takes them.
        """
        x = self.mid_block.resnets[0](x, time)
        x = self.mid_block.attentions[0](x, context, batch, *controls)
        return self.mid_block.resnets[1](x, time)


def make_resnet(
    config: UNetConfig | ControlNetConfig, in_channels: int, out_channels: int
) -> ResnetBlock:
    """Residual block of either network."""
    time_channels = 4 * config.block_out_channels[0]
    return ResnetBlock(in_channels, out_channels, time_channels, config.norm_num_groups)


def make_transformer(config: UNetConfig | ControlNetConfig, width: int) -> SpatialTransformer:
    """Plain transformer of the encoder."""
    return SpatialTransformer(width, config.head_dim, config.context_dim, config.norm_num_groups)


def map_channels(config: UNetConfig | ControlNetConfig) -> list[int]:
    """Channels of the encoder's maps, finest first; the skips and (with the middle's) the controls
    have these.
    """
    widths = config.block_out_channels
    channels = [widths[0]]
    for level, width in enumerate(widths):
        channels += [width] * (config.layers_per_block + (level < len(widths) - 1))
    return channels


class UNet(UNetEncoder):
    """Noise prediction for latents `(B, in_channels, h, w)`; h, w multiples of 2^(levels − 1)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        self.config = config
        widths = config.block_out_channels
        skips = map_channels(config)
        self.up_blocks = nn.ModuleList(
            self._up_level(config, level, skips) for level in reversed(range(len(widths)))
        )
        self.conv_norm_out = group_norm(config.norm_num_groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        self.number()

    def make_middle(self, config: UNetConfig | ControlNetConfig) -> SpatialTransformer:
        assert isinstance(config, UNetConfig)
        width = config.block_out_channels[-1]
        return make_aia(config, width, control_dim=width)

    def _up_level(self, config: UNetConfig, level: int, skips: list[int]) -> Level:
        """Takes the channels of its skips off the end of `skips`."""
        widths = config.block_out_channels
        width, previous = widths[level], widths[min(level + 1, len(widths) - 1)]
        resnets: list[nn.Module] = []
        attentions: list[SpatialTransformer] = []
        for _ in range(config.layers_per_block + 1):
            skip = skips.pop()
            resnets.append(make_resnet(config, previous + skip, width))
            if 2**level in config.attention_factors:
                attentions.append(make_aia(config, width, control_dim=skip))
            previous = width
        block = Level(resnets, attentions)
        if level > 0:
            block.upsamplers.append(Upsample(width))
        return block

    def forward(
        self,
        latents: Tensor,
        time: Time,
        context: PreparedContext,
        controls: Controls | None = None,
    ) -> Tensor:
        """Prediction `(branches·B, 4, h, w)`, branch-major, for latents `(B, 4, h, w)`.

        Without controls both new attentions are left out: the model that imagines the reference.
        What is equal in all branches is computed once.
        """
        return self.predict(latents, time, context, controls)[0]

    def predict(
        self,
        latents: Tensor,
        time: Time,
        context: PreparedContext,
        controls: Controls | None = None,
        deep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What `forward` returns, and the map `(branches·B, C, h, w)` that enters the finest level
        of the decoder.

        Given the `deep` map of a step before, all that leads to it is left out, and controls need
        to hold the maps of the finest level only (Ma et al. 2024, "DeepCache"): an approximation.
        """
        batch = latents.shape[0]
        time = self.prepare_time(time, latents)
        finest = self.encode(self.conv_in(latents), time, context, batch, last=1)
        rest = time, context, batch, controls
        if deep is None:
            skips = self.encode(finest[-1], time, context, batch, first=1)
            deep = self.middle(skips[-1], time, context, batch, *self._at(controls, -1))
            places = [self.shallow + index for index in range(len(skips))]
            deep = self._decode(deep, self.up_blocks[:-1], skips, places, *rest)
        places = list(range(self.shallow))
        x = self._decode(deep, self.up_blocks[-1:], finest[: self.shallow], places, *rest)
        return self.conv_out(F.silu(self.conv_norm_out(x))), deep

    def _at(
        self, controls: Controls | None, place: int
    ) -> tuple[ControlMaps | None, Tensor | None]:
        """The maps of a place, and the weights of the attentions to them."""
        if controls is None:
            return None, None
        return controls.at(place, self.config.conditions), controls.weights

    def _decode(
        self,
        x: Tensor,
        blocks: Iterable[nn.Module],
        skips: list[Tensor],
        places: list[int],
        time: PreparedTime,
        context: PreparedContext,
        batch: int,
        controls: Controls | None,
    ) -> Tensor:
        """Levels of the decoder, with the skips that enter them and the places of these among all,
        both taken from the end: the control of a place is the map of the skip that enters there.
        """
        for block in levels(blocks):
            for resnet, attention in block.steps():
                skip, place = match_batch(skips.pop(), x.shape[0]), places.pop()
                x = resnet(torch.cat((x, skip), dim=1), time)
                if attention is not None:
                    x = attention(x, context, batch, *self._at(controls, place))
            for upsampler in block.upsamplers:
                x = upsampler(x)
        return x


def make_aia(config: UNetConfig, width: int, control_dim: int) -> AiATransformer:
    """All-in-Attention transformer of the middle and the decoder."""
    return AiATransformer(
        width,
        config.head_dim,
        config.context_dim,
        config.norm_num_groups,
        control_dim,
        config.project_reference,
        config.conditions,
    )


def initialise_aia_from_base(unet: UNet) -> None:
    """Start every new attention from the base's self-attention (spec sec. 6), before training."""
    for transformer in unet.transformers():
        if isinstance(transformer, AiATransformer):
            initialise_from_base(transformer)
