"""A whole model at toy size, with random weights: the real classes, the real engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from coser_cli.config import ModelConfig
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.tiled.results import Large
from coser_cli.engine.tiled.upscaler import TiledUpscaler
from coser_cli.engine.tiled.vae import Tiling
from coser_cli.engine.upscaler import Upscaler
from coser_cli.models.build import PARTS, CoSeR, make_network
from coser_cli.models.text import SentenceText
from coser_cli.settings import Settings, TileSpec
from coser_cli.size import Size
from coser_cli.tiling.canvas import Readable, Scratch, TensorMap
from coser_cli.tiling.grid import Box
from coser_cli.weights.load import save_component, save_text_states
from coser_cli.weights.store import save_model_config
from tests.toy import TOY


def toy_part(config: ModelConfig, part: str) -> Any:
    """A network with random weights; nothing that training starts at zero is zero."""
    generator = torch.Generator().manual_seed(sum(part.encode()))
    if part == "text":
        prompts = ("", config.defaults.negative_prompt, "a cat")
        size = config.text.context_length, config.text.width
        states = {prompt: torch.randn(size, generator=generator) for prompt in prompts}
        return SentenceText(config.text, states)
    network = make_network(config, part)
    for parameter in network.parameters():
        spread = 0.3 if parameter.dim() < 2 else parameter[0].numel() ** -0.5
        nn.init.normal_(parameter, std=spread, generator=generator)
    return network.eval().requires_grad_(False)


def save_toy(folder: Path, config: ModelConfig = TOY) -> Path:
    """The toy in files of float32."""
    save_model_config(config, folder)
    for part in PARTS:
        network = toy_part(config, part)
        save = save_text_states if part == "text" else save_component
        save(network, folder / part, torch.float32)
    return folder


class Toy:
    """An upscaler, and the names of the networks that were made, in order; `wrap` may put others
    round them."""

    def __init__(self, config: ModelConfig, wrap: Callable[[str, Any], Any] | None = None) -> None:
        self.made: list[str] = []
        self.wrap = wrap or (lambda part, network: network)
        model = CoSeR(config, partial(self._make, config))
        self.upscaler = Upscaler(Runtime(model, torch.device("cpu"), torch.float32))

    def _make(self, config: ModelConfig, part: str) -> Any:
        self.made.append(part)
        return self.wrap(part, toy_part(config, part))


def whole(readable: Readable) -> torch.Tensor:
    """All of a map."""
    return readable.read(Box.whole(Size.of(readable)))


def in_tiles(
    upscaler: Upscaler,
    pixels: torch.Tensor,
    settings: Settings,
    spec: TileSpec = TileSpec(64, 32),  # noqa: B008 (it is frozen)
    *,
    vae: Tiling | None = None,
    tile_batch: int = 1,
    references: Sequence[torch.Tensor] = (),
    conditions: Mapping[str, torch.Tensor] | None = None,
    **options: Any,
) -> Large:
    """What a `TiledUpscaler` makes of pixels `(1, 3, H, W)`, its maps in memory."""
    with Scratch() as scratch:
        tiled = TiledUpscaler(upscaler.runtime, spec, scratch, tile_batch=tile_batch, vae=vae)
        large = tiled.upscale(
            TensorMap(pixels),
            settings,
            references=[TensorMap(each) for each in references],
            conditions={name: TensorMap(each) for name, each in (conditions or {}).items()},
            **options,
        )
        shown = tuple(TensorMap(whole(each)) for each in large.references)
        return replace(large, pixels=TensorMap(whole(large.pixels)), references=shown)


@pytest.fixture(scope="session")
def upscaler() -> Upscaler:
    """The toy with everything on."""
    return Toy(TOY).upscaler


@pytest.fixture
def make_toy() -> Callable[..., Toy]:
    """A fresh toy with some fields of its configuration replaced, or networks wrapped."""
    return lambda wrap=None, **fields: Toy(replace(TOY, **fields), wrap)
