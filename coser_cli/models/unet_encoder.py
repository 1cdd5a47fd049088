"""Encoder half and middle of the denoising U-Net, which the ControlNet has as well.

Parameter names are those of diffusers' `UNet2DConditionModel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn

from coser_cli.config import ControlNetConfig, UNetConfig
from coser_cli.models.aia import ControlMaps
from coser_cli.models.resnet import (
    DenseResnetBlock,
    Downsample,
    PreparedTime,
    ResnetBlock,
    TimestepEmbedding,
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
        resnets: list[nn.Module] = [
            make_resnet(config, width, width, len(widths)) for _ in range(2)
        ]
        self.mid_block = Level(resnets, [self.make_middle(config)])

    def _down_level(self, config: UNetConfig | ControlNetConfig, level: int) -> Level:
        widths = config.block_out_channels
        width, count = widths[level], config.layers_per_block
        incoming = [widths[max(level - 1, 0)]] + [width] * (count - 1)
        attentive = 2**level in config.attention_factors
        block = Level(
            [make_resnet(config, previous, width, level) for previous in incoming],
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

    def resnets(self) -> Iterator[ResnetBlock | DenseResnetBlock]:
        """All residual blocks, in the order of a `PreparedTime`."""
        kinds = (ResnetBlock, DenseResnetBlock)
        return (module for module in self.modules() if isinstance(module, kinds))

    def prepare_time(self, time: Time, like: Tensor) -> PreparedTime:
        """What T timesteps add in every residual block, with the device and dtype of `like`."""
        if isinstance(time, PreparedTime):
            return time
        steps = torch.as_tensor(time, device=like.device).reshape(-1)
        embedding = self.time_embedding(steps, like.dtype)
        return PreparedTime(tuple(resnet.time_shift(embedding) for resnet in self.resnets()))

    def prepare_times(self, timesteps: Sequence[int], like: Tensor) -> Mapping[int, PreparedTime]:
        """`prepare_time` for each of the timesteps, by one call. Once per pass."""
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
    config: UNetConfig | ControlNetConfig, in_channels: int, out_channels: int, level: int
) -> ResnetBlock | DenseResnetBlock:
    """Residual block of either network, at a level, 0 the finest."""
    time_channels = 4 * config.block_out_channels[0]
    if level == 0 and isinstance(config, UNetConfig) and config.dense_blocks:
        return DenseResnetBlock(in_channels, out_channels, time_channels, config.dense_blocks)
    return ResnetBlock(in_channels, out_channels, time_channels, config.norm_num_groups)


def make_transformer(config: UNetConfig | ControlNetConfig, width: int) -> SpatialTransformer:
    """Plain transformer of the encoder."""
    return SpatialTransformer(width, config.head_dim, config.context_dim, config.norm_num_groups)


def map_channels(config: UNetConfig | ControlNetConfig) -> list[int]:
    """Channels of the encoder's maps, finest first; the skips and (with the middle's) the controls
    have these.
    """
    return [width for _, width in map_places(config)]


def map_places(config: UNetConfig | ControlNetConfig) -> list[tuple[int, int]]:
    """Of each of the encoder's maps, finest first: the decoder's level where it enters as a skip,
    and its channels.
    """
    widths = config.block_out_channels
    places = [(0, widths[0])]
    for level, width in enumerate(widths):
        places += [(level, width)] * config.layers_per_block
        if level < len(widths) - 1:
            places.append((level + 1, width))
    return places
