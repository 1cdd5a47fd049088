"""Denoising U-Net of Stable Diffusion with All-in-Attention in its middle and decoder.

Parameter names are those of diffusers' `UNet2DConditionModel`; the All-in-Attention's own begin
with `low_res_`, `reference_` or `condition_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.config import ControlNetConfig, UNetConfig
from coser_cli.models.aia import AiATransformer, ControlMaps, initialise_from_base
from coser_cli.models.attention import match_batch
from coser_cli.models.resnet import EPS, PreparedTime, Upsample, group_norm
from coser_cli.models.transformer import PreparedContext, SpatialTransformer
from coser_cli.models.unet_encoder import (
    Level,
    Time,
    UNetEncoder,
    levels,
    make_resnet,
    map_channels,
    map_places,
)


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


class UNet(UNetEncoder):
    """Noise prediction for latents `(B, in_channels, h, w)`; h, w multiples of 2^(levels − 1)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        self.config = config
        widths = config.block_out_channels
        skips = map_channels(config)
        self.reference_adds = nn.ModuleList(self._reference_adds(config))
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
            resnets.append(make_resnet(config, previous + skip, width, level))
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
        x = x if self.config.dense_blocks else F.silu(self.conv_norm_out(x))
        return self.conv_out(x), deep

    def _reference_adds(self, config: UNetConfig) -> Iterator[nn.Module]:
        """One for each place, finest first: what a reference's map adds to the skip, zero at first;
        empty where a level has attention, or without `direct_controls`.
        """
        places = [
            (width, 2**level not in config.attention_factors) for level, width in map_places(config)
        ]
        for width, direct in places if config.direct_controls else []:
            add = nn.Conv2d(width, width, 1) if direct else nn.Identity()
            for parameter in add.parameters():
                nn.init.zeros_(parameter)
            yield add

    def _controlled(self, skip: Tensor, controls: Controls | None, place: int) -> Tensor:
        """The skip that enters at a place without attention, with what controls add to it."""
        if controls is None or not self.reference_adds:
            return skip
        maps, weights = controls.at(place, ()), controls.weights
        low_res = maps["low_res"]
        change = low_res if weights is None else weights[0] * low_res
        if "reference" in maps:
            references = maps["reference"].unflatten(0, (-1, low_res.shape[0])).mean(dim=0)
            added = self.reference_adds[place](references - low_res)
            change = change + (added if weights is None else weights[1] * added)
        return skip + match_batch(change, skip.shape[0])

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
                if attention is None:
                    skip = self._controlled(skip, controls, place)
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
