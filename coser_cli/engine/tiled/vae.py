"""The autoencoder for pictures larger than memory: equal to the untiled networks within rounding,
at any tile size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from coser_cli.config import AutoencoderConfig
from coser_cli.engine.tiled.vae_graph import VaeGraph
from coser_cli.models.build import CoSeR
from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable, Scratch
from coser_cli.tiling.graph import Node
from coser_cli.tiling.plan import Plan
from coser_cli.tiling.sweep import OnTile, Sweep, Write

if TYPE_CHECKING:
    from coser_cli.models.autoencoder import Autoencoder, Encoder
    from coser_cli.models.cfw import CFWDecoder

ATTENTION_TOKENS = 65_536
"""Latent cells that the middle block's attention sees at once: 2048 × 2048 pixels at f = 8."""


@dataclass(frozen=True)
class Tiling:
    """How the autoencoder is tiled.

    `tile`: side in pixels of what is computed at once (halos come on top). Above
    `attention_tokens`, attention looks through overlapping windows of that many cells.
    """

    tile: int = 512
    attention_tokens: int = ATTENTION_TOKENS


@dataclass(frozen=True)
class TiledPass:
    """A network ready to run over maps. Its costs are `plan.scratch_bytes` on disk,
    `plan.memory_bytes` of tensors and `plan.tile_count`.
    """

    plan: Plan
    sources: Mapping[str, Node]
    device: torch.device

    @property
    def note(self) -> str | None:
        """For the user, where the result is not that of the untiled network."""
        if not self.plan.windowed:
            return None
        return (
            f"{Size.of(self.plan.windowed[0])} latent cells are too many for the autoencoder's "
            "attention to see at once; it looks through overlapping windows"
        )

    def run(
        self,
        maps: Mapping[str, Readable],
        write: Write,
        scratch: Scratch,
        on_tile: OnTile | None = None,
    ) -> None:
        """Read the maps named in `sources`; give each tile of the result to `write` as float32 on
        the CPU, row by row of tiles, left to right, every cell once.
        """
        sources = {node: maps[name] for name, node in self.sources.items()}
        Sweep(self.plan, sources, scratch, self.device, on_tile).run(write)


def encoding(model: CoSeR, size: Size, tiling: Tiling) -> TiledPass:
    """`Autoencoder.encode` of a picture of `size`, whose sides are multiples of the down-factor.

    Source: `pixels` `(3, H, W)` in [0, 1]. Result: scaled latents `(4, h, w)`.
    """
    graph, network = VaeGraph(tiling.attention_tokens), model.autoencoder
    pixels = graph.source((3, *size.hw))
    latents = graph.latents(network, pixels)
    return _tiled(network, network.config, latents, graph, {"pixels": pixels}, size, tiling)


def decoding(model: CoSeR, size: Size, tiling: Tiling, fidelity: float | None) -> TiledPass:
    """Decoding to a picture of `size`, as `engine.decoding.decode` does it.

    Source: `latents` `(4, h, w)`, scaled; where the model has a CFW decoder also `pixels`, the
    enlarged low-resolution picture `(3, H, W)` in [0, 1]. Its detail enters with weight `fidelity`;
    with None the autoencoder's own decoder is used. Result: pixels
    `(3, H, W)`, not clamped.
    """
    graph = VaeGraph(tiling.attention_tokens)
    network = None if fidelity is None else model.cfw
    config = model.autoencoder.config
    latents = graph.source((config.latent_channels, *_cells(config, size).hw))
    if network is None or fidelity is None:
        plain = model.autoencoder
        result = graph.pixels(plain, latents)
        return _tiled(plain, config, result, graph, {"latents": latents}, size, tiling)
    pixels = graph.source((3, *size.hw))
    encoder = network.encoder if network.config.own_encoder else model.autoencoder.encoder
    features = graph.encoder(cast("Encoder", encoder), pixels)[1]
    result = graph.fused_pixels(network, latents, features, fidelity)
    sources = {"latents": latents, "pixels": pixels}
    config = network.config.autoencoder
    return _tiled(network, config, result, graph, sources, size, tiling)


def _tiled(
    network: Autoencoder | CFWDecoder,
    config: AutoencoderConfig,
    output: Node,
    graph: VaeGraph,
    sources: Mapping[str, Node],
    size: Size,
    tiling: Tiling,
) -> TiledPass:
    weight = next(network.parameters())
    side = max(1, tiling.tile // _factor(config))
    plan = Plan(graph, output, _cells(config, size), side, weight.dtype)
    return TiledPass(plan, sources, weight.device)


def _factor(config: AutoencoderConfig) -> int:
    """Pixels per latent cell."""
    return config.patch_size * 2 ** (len(config.block_out_channels) - 1)


def _cells(config: AutoencoderConfig, size: Size) -> Size:
    """Size of the latents."""
    factor = _factor(config)
    if size.padded(factor) != size:
        raise ValueError(f"{size} pixels are no multiples of {factor}")
    return size // factor
