"""Autoencoder and CFW decoder as graphs of local steps, for pictures larger than memory.

Says again what `models/autoencoder.py` computes, as steps on maps whose sizes are known; equal to
it within rounding at any tile size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.models.attention import to_maps, to_tokens
from coser_cli.tiling.canvas import Map, Scratch
from coser_cli.tiling.graph import Graph, Node
from coser_cli.tiling.plan import Plan
from coser_cli.tiling.sweep import OnTile, Sweep, Write

if TYPE_CHECKING:
    from coser_cli.models.autoencoder import (
        Autoencoder,
        CFWDecoder,
        Decoder,
        DenseBlock,
        Encoder,
        Fusion,
        Level,
        MapAttention,
        MidBlock,
        ResidualInResidual,
    )
    from coser_cli.models.blocks import ResnetBlock2D
    from coser_cli.models.config import AutoencoderConfig

ATTENTION_TOKENS = 65_536
"""Most latent cells that the middle block's attention sees at once: 2048 × 2048 pixels at f = 8.
Above it, windows of that many are averaged.
"""
QUERIES = 4096
"""Attended to at a time, so that a kernel that writes out the weights needs 1 GiB at most."""

_silu = partial(F.silu, inplace=True)


@dataclass(frozen=True)
class TiledPass:
    """A network ready to run over maps, and what that costs.

    `plan.scratch_bytes`, `plan.memory_bytes` and `plan.tile_count` can be asked before; for these
    a network on the meta device will do.
    """

    plan: Plan
    sources: Mapping[str, Node]
    device: torch.device

    @property
    def note(self) -> str | None:
        """What the user should know: where the result differs from the untiled one."""
        if not self.plan.windowed:
            return None
        height, width = self.plan.windowed[0].shape[1:]
        return (
            f"the autoencoder's attention sees {height}×{width} latent cells in overlapping "
            f"windows of {ATTENTION_TOKENS}, not at once"
        )

    def run(
        self, maps: Mapping[str, Map], write: Write, scratch: Scratch, on_tile: OnTile | None = None
    ) -> None:
        """Read the maps named as `sources`, give the result to `write` in row order of tiles."""
        sources = {node: maps[name] for name, node in self.sources.items()}
        Sweep(self.plan, sources, scratch, self.device, on_tile).run(write)


def encoding(
    autoencoder: Autoencoder, size: tuple[int, int], tile: int, *, exact: bool = True
) -> TiledPass:
    """`Autoencoder.encode` of a picture of `size` (height, width), multiples of the down-factor.

    Source: `pixels` `(3, H, W)` in [0, 1]. Result: scaled latents `(4, h, w)`. `tile`: side of a
    tile in pixels.
    """
    graph, config = Graph(), autoencoder.config
    pixels = graph.source((3, *size))
    moments = _convolution(
        graph, _encoder(graph, autoencoder.encoder, pixels)[0], autoencoder.quant_conv
    )
    latents = graph.pointwise(
        lambda maps: maps.chunk(2, dim=1)[0] * config.scaling_factor,
        moments,
        channels=config.latent_channels,
    )
    return _tiled(autoencoder, config, graph, latents, {"pixels": pixels}, tile, exact)


def decoding(
    autoencoder: Autoencoder, size: tuple[int, int], tile: int, *, exact: bool = True
) -> TiledPass:
    """`Autoencoder.decode` to a picture of `size`.

    Source: `latents` `(4, h, w)`, scaled. Result: pixels `(3, H, W)`, not clamped.
    """
    graph, config = Graph(), autoencoder.config
    latents = graph.source(_latent_shape(config, size))
    x = _unscaled(graph, latents, autoencoder.post_quant_conv, config)
    pixels = _decoder(graph, autoencoder.decoder, x)
    return _tiled(autoencoder, config, graph, pixels, {"latents": latents}, tile, exact)


def fused_decoding(
    autoencoder: Autoencoder,
    cfw: CFWDecoder,
    size: tuple[int, int],
    tile: int,
    fidelity: float,
    *,
    exact: bool = True,
) -> TiledPass:
    """`CFWDecoder.decode` to a picture of `size`, with features of the CFW's own encoder or, if it
    has none, of the autoencoder's.

    Sources: `latents`, and `pixels`, the enlarged low-resolution picture. Result: pixels, not
    clamped.
    """
    graph, config = Graph(), cfw.config.autoencoder
    pixels, latents = graph.source((3, *size)), graph.source(_latent_shape(config, size))
    encoder = cfw.encoder if cfw.config.own_encoder else autoencoder.encoder
    features = _encoder(graph, encoder, pixels)[1]

    def fuse(level: int, x: Node) -> Node:
        if level not in cfw.config.fuse_levels:
            return x
        graph.keep(features[level])
        fusion = cast("Fusion", cfw.fusions[str(level)])
        change = _fusion(graph, fusion, features[level], x)
        return graph.pointwise(lambda a, b: a + fidelity * b, x, change)

    x = _unscaled(graph, latents, cfw.post_quant_conv, config)
    result = _decoder(graph, cfw.decoder, x, fuse)
    sources = {"latents": latents, "pixels": pixels}
    return _tiled(cfw, config, graph, result, sources, tile, exact)


def _tiled(
    network: nn.Module,
    config: AutoencoderConfig,
    graph: Graph,
    output: Node,
    sources: dict[str, Node],
    tile: int,
    exact: bool,
) -> TiledPass:
    weight = next(network.parameters())
    factor = _factor(config)
    pixels = max((*sources.values(), output), key=lambda node: node.shape[1]).shape
    cells = pixels[1] // factor, pixels[2] // factor
    plan = Plan(graph, output, cells, max(1, tile // factor), weight.dtype, exact)
    return TiledPass(plan, sources, weight.device)


def _factor(config: AutoencoderConfig) -> int:
    """Pixels per latent cell."""
    return config.patch_size * 2 ** (len(config.block_out_channels) - 1)


def _latent_shape(config: AutoencoderConfig, size: tuple[int, int]) -> tuple[int, int, int]:
    factor = _factor(config)
    return config.latent_channels, size[0] // factor, size[1] // factor


def _unscaled(graph: Graph, latents: Node, module: nn.Conv2d, config: AutoencoderConfig) -> Node:
    x = graph.pointwise(lambda maps: maps / config.scaling_factor, latents)
    return _convolution(graph, x, module)


def _convolution(graph: Graph, x: Node, module: nn.Module | None) -> Node:
    """A convolution that keeps the size of the map."""
    assert isinstance(module, nn.Conv2d)
    around = module.kernel_size[0] // 2
    return graph.convolution(x, module, (around, around))


def _activated(graph: Graph, x: Node, norm: nn.Module) -> Node:
    if isinstance(norm, nn.GroupNorm):
        return graph.normalise(x, norm, _silu)
    return graph.pointwise(F.silu, x)


def _resnet(graph: Graph, block: ResnetBlock2D, x: Node) -> Node:
    h = _convolution(graph, _activated(graph, x, block.norm1), block.conv1)
    h = _convolution(graph, _activated(graph, h, block.norm2), block.conv2)
    skip = x if block.conv_shortcut is None else _convolution(graph, x, block.conv_shortcut)
    return graph.pointwise(torch.add, skip, h)


def _resnets(graph: Graph, level: Level | MidBlock, x: Node) -> Node:
    for block in level.resnets:
        x = _resnet(graph, cast("ResnetBlock2D", block), x)
    return x


def _middle(graph: Graph, block: MidBlock, x: Node) -> Node:
    first, second = (cast("ResnetBlock2D", resnet) for resnet in block.resnets)
    x = _resnet(graph, first, x)
    for attention in cast("list[MapAttention]", block.attentions):
        normed = graph.normalise(x, attention.group_norm, lambda maps: maps)
        change = graph.whole(normed, partial(_attend, attention), ATTENTION_TOKENS)
        x = graph.pointwise(torch.add, x, change)
    return _resnet(graph, second, x)


def _attend(attention: MapAttention, maps: Tensor) -> Tensor:
    tokens = to_tokens(maps)
    key, value = attention.key_value(tokens)
    found = [attention.attend(part, key, value) for part in tokens.split(QUERIES, dim=1)]
    return to_maps(torch.cat(found, dim=1), *maps.shape[-2:])


def _finish(graph: Graph, stack: Encoder | Decoder, x: Node) -> Node:
    return _convolution(graph, _activated(graph, x, stack.conv_norm_out), stack.conv_out)


def _encoder(graph: Graph, encoder: Encoder, pixels: Node) -> tuple[Node, list[Node]]:
    """What `Encoder.forward` gives, of pixels in [0, 1]."""
    x = graph.pointwise(lambda maps: maps * 2 - 1, pixels)
    x = x if encoder.patch_size == 1 else graph.fold(x, encoder.patch_size)
    x = _convolution(graph, x, encoder.conv_in)
    features: list[Node] = []
    for level in cast("list[Level]", encoder.down_blocks):
        x = _resnets(graph, level, x)
        features.append(x)
        for downsampler in level.downsamplers:
            x = graph.convolution(x, cast("nn.Conv2d", downsampler.conv), (0, 1))
    return _finish(graph, encoder, _middle(graph, encoder.mid_block, x)), features


def _decoder(
    graph: Graph, decoder: Decoder, x: Node, fuse: Callable[[int, Node], Node] | None = None
) -> Node:
    """What `Decoder.forward` gives, as pixels that are nominally in [0, 1]."""
    x = _middle(graph, decoder.mid_block, _convolution(graph, x, decoder.conv_in))
    for index, level in enumerate(cast("list[Level]", decoder.up_blocks)):
        x = _resnets(graph, level, x)
        x = x if fuse is None else fuse(len(decoder.up_blocks) - 1 - index, x)
        for upsampler in level.upsamplers:
            x = _convolution(graph, graph.double(x), cast("nn.Conv2d", upsampler.conv))
    x = _finish(graph, decoder, x)
    x = x if decoder.patch_size == 1 else graph.unfold(x, decoder.patch_size)
    return graph.pointwise(lambda maps: (maps + 1) / 2, x)


def _fusion(graph: Graph, fusion: Fusion, encoded: Node, decoded: Node) -> Node:
    x = _resnet(graph, fusion.merge, graph.concat(encoded, decoded))
    for block in cast("list[ResidualInResidual]", fusion.blocks):
        change = x
        for dense in (block.rdb1, block.rdb2, block.rdb3):
            change = _dense(graph, dense, change)
        x = graph.pointwise(lambda a, b: a + 0.2 * b, x, change)
    return _resnet(graph, fusion.finish, x)


def _dense(graph: Graph, block: DenseBlock, x: Node) -> Node:
    grown = [x]
    for index in range(1, 5):
        module = block.get_submodule(f"conv{index}")
        new = _convolution(graph, graph.concat(*grown) if len(grown) > 1 else x, module)
        grown.append(graph.pointwise(partial(F.leaky_relu, negative_slope=0.2), new))
    change = _convolution(graph, graph.concat(*grown), block.conv5)
    return graph.pointwise(lambda a, b: a + 0.2 * b, x, change)
