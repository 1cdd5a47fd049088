"""Autoencoder and CFW decoder as graphs of local steps.

Says again what `models/autoencoder.py` computes, as steps on maps whose sizes are known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.models.attention import to_maps, to_tokens
from coser_cli.tiling.graph import Graph, Node

if TYPE_CHECKING:
    from coser_cli.models.autoencoder import (
        Autoencoder,
        Decoder,
        Encoder,
        EnlargingDecoder,
        Level,
        MapAttention,
        MidBlock,
        PatchEncoder,
        ResnetBlock,
    )
    from coser_cli.models.cfw import CFWDecoder, Fusion
    from coser_cli.models.dense import DenseBlock, ResidualInResidual

QUERIES = 4096
"""Attended to at a time, so that a kernel that writes out the weights needs 1 GiB at most."""

Fuse = Callable[[int, Node], Node]

_silu = partial(F.silu, inplace=True)


class VaeGraph(Graph):
    """A graph with the blocks of the autoencoder.

    `attention_tokens`: most cells that its attention sees at once.
    """

    def __init__(self, attention_tokens: int) -> None:
        super().__init__()
        self.attention_tokens = attention_tokens

    def latents(self, autoencoder: Autoencoder, pixels: Node) -> Node:
        """`Autoencoder.encode`."""
        config = autoencoder.config
        if config.light is not None:
            encoder = cast("PatchEncoder", autoencoder.encoder)
            return self._convolution(self.fold(pixels, encoder.patch_size), encoder.conv_in)
        encoded = self.encoder(cast("Encoder", autoencoder.encoder), pixels)[0]
        return self.pointwise(
            lambda maps: maps.chunk(2, dim=1)[0] * config.scaling_factor,
            self._convolution(encoded, autoencoder.quant_conv),
            channels=config.latent_channels,
        )

    def pixels(self, autoencoder: Autoencoder, latents: Node) -> Node:
        """`Autoencoder.decode`."""
        if autoencoder.config.light is not None:
            return self._enlarged(cast("EnlargingDecoder", autoencoder.decoder), latents)
        scale = autoencoder.config.scaling_factor
        x = self._unscaled(latents, autoencoder.post_quant_conv, scale)
        return self.decoder(cast("Decoder", autoencoder.decoder), x)

    def fused_pixels(
        self, cfw: CFWDecoder, latents: Node, features: list[Node], fidelity: float
    ) -> Node:
        """`CFWDecoder.decode`."""

        def fuse(level: int, x: Node) -> Node:
            if level not in cfw.config.fuse_levels or not fidelity:
                return x
            self.kept.add(features[level])
            change = self._fusion(cast("Fusion", cfw.fusions[str(level)]), features[level], x)
            return self.pointwise(lambda a, b: a + fidelity * b, x, change)

        scale = cfw.config.autoencoder.scaling_factor
        x = self._unscaled(latents, cfw.post_quant_conv, scale)
        return self.decoder(cfw.decoder, x, fuse)

    def encoder(self, encoder: Encoder, pixels: Node) -> tuple[Node, list[Node]]:
        """What `Encoder.forward` gives, of pixels in [0, 1]."""
        x = self.pointwise(lambda maps: maps * 2 - 1, pixels)
        x = x if encoder.patch_size == 1 else self.fold(x, encoder.patch_size)
        x = self._convolution(x, encoder.conv_in)
        features: list[Node] = []
        for level in cast("list[Level]", encoder.down_blocks):
            x = self._resnets(level, x)
            features.append(x)
            for downsampler in level.downsamplers:
                x = self.convolution(x, cast("nn.Conv2d", downsampler.conv), (0, 1))
        return self._finish(encoder, self._middle(encoder.mid_block, x)), features

    def decoder(self, decoder: Decoder, x: Node, fuse: Fuse | None = None) -> Node:
        """What `Decoder.forward` gives, as pixels that are nominally in [0, 1]."""
        x = self._middle(decoder.mid_block, self._convolution(x, decoder.conv_in))
        for index, level in enumerate(cast("list[Level]", decoder.up_blocks)):
            x = self._resnets(level, x)
            x = x if fuse is None else fuse(len(decoder.up_blocks) - 1 - index, x)
            for upsampler in level.upsamplers:
                x = self._convolution(self.double(x), cast("nn.Conv2d", upsampler.conv))
        x = self._finish(decoder, x)
        x = x if decoder.patch_size == 1 else self.unfold(x, decoder.patch_size)
        return self.pointwise(lambda maps: (maps + 1) / 2, x)

    def _enlarged(self, decoder: EnlargingDecoder, x: Node) -> Node:
        """What `EnlargingDecoder.forward` gives."""
        for upconv in (decoder.upconv1, decoder.upconv2):
            x = self._convolution(self.double(x), upconv)
            x = self.pointwise(decoder.activation, x)
        x = self.pointwise(decoder.activation, self._convolution(x, decoder.conv_hr))
        return self._convolution(x, decoder.conv_out)

    def _unscaled(self, latents: Node, module: nn.Conv2d, scale: float) -> Node:
        x = self.pointwise(lambda maps: maps / scale, latents)
        return self._convolution(x, module)

    def _convolution(self, x: Node, module: nn.Module | None) -> Node:
        """A convolution that keeps the size of the map."""
        assert isinstance(module, nn.Conv2d)
        around = module.kernel_size[0] // 2
        return self.convolution(x, module, (around, around))

    def _activated(self, x: Node, norm: nn.Module) -> Node:
        if isinstance(norm, nn.GroupNorm):
            return self.normalise(x, norm, _silu)
        return self.pointwise(F.silu, x)

    def _resnet(self, block: ResnetBlock, x: Node) -> Node:
        h = self._convolution(self._activated(x, block.norm1), block.conv1)
        h = self._convolution(self._activated(h, block.norm2), block.conv2)
        skip = x if block.conv_shortcut is None else self._convolution(x, block.conv_shortcut)
        return self.pointwise(torch.add, skip, h)

    def _resnets(self, level: Level | MidBlock, x: Node) -> Node:
        for block in level.resnets:
            x = self._resnet(cast("ResnetBlock", block), x)
        return x

    def _middle(self, block: MidBlock, x: Node) -> Node:
        first, second = (cast("ResnetBlock", resnet) for resnet in block.resnets)
        x = self._resnet(first, x)
        for attention in cast("list[MapAttention]", block.attentions):
            normed = self.normalise(x, attention.group_norm, lambda maps: maps)
            change = self.whole(normed, partial(_attend, attention), self.attention_tokens)
            x = self.pointwise(torch.add, x, change)
        return self._resnet(second, x)

    def _finish(self, stack: Encoder | Decoder, x: Node) -> Node:
        return self._convolution(self._activated(x, stack.conv_norm_out), stack.conv_out)

    def _fusion(self, fusion: Fusion, encoded: Node, decoded: Node) -> Node:
        x = self._resnet(fusion.merge, self.concat(encoded, decoded))
        for block in cast("list[ResidualInResidual]", fusion.blocks):
            change = x
            for dense in (block.rdb1, block.rdb2, block.rdb3):
                change = self._dense(dense, change)
            x = self.pointwise(lambda a, b: a + 0.2 * b, x, change)
        return self._resnet(fusion.finish, x)

    def _dense(self, block: DenseBlock, x: Node) -> Node:
        grown = [x]
        for index in range(1, 5):
            module = block.get_submodule(f"conv{index}")
            new = self._convolution(self.concat(*grown) if len(grown) > 1 else x, module)
            grown.append(self.pointwise(partial(F.leaky_relu, negative_slope=0.2), new))
        change = self._convolution(self.concat(*grown), block.conv5)
        return self.pointwise(lambda a, b: a + 0.2 * b, x, change)


def _attend(attention: MapAttention, maps: Tensor) -> Tensor:
    tokens = to_tokens(maps)
    key, value = attention.key_value(tokens)
    attended = [attention.attend(part, key, value) for part in tokens.split(QUERIES, dim=1)]
    return to_maps(torch.cat(attended, dim=1), *maps.shape[-2:])
