"""A workspace: a recipe, its pictures, and the networks as the stages so far have left them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coser_cli.config import SentenceTextConfig
from coser_cli.errors import UsageError, WeightsError
from coser_cli.models.aia import AiATransformer, initialise_condition
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.build import make_network, skeleton
from coser_cli.models.clip import ClipText
from coser_cli.models.srresnet import SRResNet
from coser_cli.models.text import SentenceText
from coser_cli.models.unet import UNet, initialise_aia_from_base
from coser_cli.training import checkpoint
from coser_cli.training.data import Source, open_source, require_captions, split_rows
from coser_cli.training.frozen import SentenceTexts, Texts, TowerTexts, Understanding
from coser_cli.training.loop import LoopConfig
from coser_cli.training.pool import PoolConfig
from coser_cli.training.processes import this_process
from coser_cli.training.recipe import DataOptions, Recipe, parse
from coser_cli.weights import store

POOLED = ("teacher", "srresnet", "one_step")
"""Stages whose examples are those of the pool."""
TRAINERS = ("srresnet", "cognition", "restoration", "condition", "one_step")
"""Stages that train networks, in their order."""
TRAINS = {
    "srresnet": ("srresnet",),
    "cognition": ("cognitive_encoder", "srresnet"),
    "restoration": ("unet", "controlnet"),
    "condition": ("unet",),
    "one_step": ("vae", "unet", "controlnet"),
}


@dataclass(frozen=True)
class Workspace:
    """`overrides` are keys of the loop's that go before the recipe's. `meta`: networks have shapes,
    but no numbers."""

    recipe: Recipe
    data: Path | None
    folder: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tensorboard: bool = False
    meta: bool = False

    @cached_property
    def device(self) -> torch.device:
        """Where it trains."""
        if self.meta:
            return torch.device("meta")
        device: torch.device = this_process().device
        return device

    @cached_property
    def source(self) -> Source:
        """The pictures. Raises UsageError if there are none."""
        if self.data is None:
            raise UsageError("a stage needs pictures", "add --data DIR")
        return open_source(self.data)

    def require_pictures(self, stage: str) -> None:
        """Raises UsageError if a stage needs pictures and there are none: sooner than weights are
        read. A pool that was made elsewhere needs none."""
        imported = self.recipe.has("pool") and self.pool.npz and stage in POOLED
        if self.data is not None or not (stage == "export" or imported):
            assert self.source.pictures

    def require_captions(self) -> None:
        """Raises UsageError, which counts them, where pictures have no caption."""
        assert self.data is not None
        require_captions(self.source, self.data)

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the pictures to train on, and of those held out."""
        options = parse(self.recipe.tables.get("data", {}), "data", DataOptions)[0]
        return split_rows(self.source, options.held_out)

    @cached_property
    def pool(self) -> PoolConfig:
        """The recipe of the pool."""
        table = dict(self.recipe.table("pool"))
        config: PoolConfig = parse(table, "pool", PoolConfig)[0]
        own = asdict(config) | {"degradation": self.recipe.degradation()}
        return PoolConfig(**own)

    def stage(self, name: str, options: type[Any]) -> tuple[LoopConfig, Any]:
        """A stage's optimisation and options. Raises UsageError where its table is wrong."""
        loop, own = parse({**self.recipe.table(name), **self.overrides}, name, LoopConfig, options)
        return loop, own

    def identity(self, *parts: Any) -> dict[str, Any]:
        """What must not change while a stage runs: the model, its options, and the pictures."""
        named = {type(part).__name__: asdict(part) for part in parts}
        count = {} if self.data is None else {"pictures": len(self.source.pictures)}
        return {"model": asdict(self.recipe.model), "start": self.recipe.start, **count, **named}

    @cached_property
    def start(self) -> Path | None:
        """The folder of the weights to start from; None for none. Raises WeightsError."""
        return store.model_folder(self.recipe.start) if self.recipe.start else None

    def starts_with(self, part: str) -> bool:
        """Whether a part is among the weights to start from."""
        return self.start is not None and store.has_part(self.start, part)

    def network(
        self, part: str, before: str, fresh: Callable[[str], bool] = lambda _: False
    ) -> nn.Module:
        """A network as the stages before `before` have left it, with gradients off.

        What lies in the weights to start from is taken but for names that are `fresh`.

        Raises:
            UsageError: it comes from a stage that has not been run.
            WeightsError: the weights to start from do not fit.
        """
        if self.meta:
            return skeleton(lambda: make_network(self.recipe.model, part)).requires_grad_(False)
        network = make_network(self.recipe.model, part)
        started = self._start(network, part, fresh)
        state = self.trained(part, before)
        network.load_state_dict(state, strict=False)
        if network.state_dict().keys() - started - state.keys():
            self._require_stages(part, before)
        return network.to(self.device).requires_grad_(False)

    def _require_stages(self, part: str, before: str) -> None:
        """Weights are absent: that is right only in the stage that trains them first."""
        trained_in = [name for name in TRAINERS if self.recipe.has(name) and part in TRAINS[name]]
        stop = TRAINERS.index(before) if before in TRAINERS else len(TRAINERS)
        earlier = [name for name in trained_in if TRAINERS.index(name) < stop]
        pending = [name for name in earlier if not any(stage_folders(self.folder / name))]
        if pending or (before not in trained_in and not earlier):
            needed = [*pending, *trained_in]
            hint = f"run `coser train {needed[0]}` first" if needed else "name them in `start`"
            raise UsageError(f"{part}: there are no weights of it yet", hint)

    def _start(self, network: nn.Module, part: str, fresh: Callable[[str], bool]) -> set[str]:
        """Fill the network from the weights to start from; the names that were there."""
        state = dict[str, Tensor]()
        if self.start is not None and store.has_part(self.start, part):
            state = {k: v for k, v in store.read_part(self.start, part).items() if not fresh(k)}
        if self.start is None or not state:
            weaken_residuals(network)
            return set()
        own = network.state_dict()
        wrong = [k for k, v in state.items() if k not in own or own[k].shape != v.shape]
        if wrong:
            raise WeightsError(
                f"{self.start / part}: {wrong[0]} does not fit the network of the recipe's model",
                "name the weights of the same model in `start`",
            )
        network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
        if isinstance(network, UNet):
            _initialise_attentions(network, state.keys())
        return set(state)

    def trained(self, part: str, before: str = "export") -> dict[str, Tensor]:
        """EMA weights of a part's trained parameters, by the last stage before `before` that has
        trained each."""
        state = dict[str, Tensor]()
        stop = TRAINERS.index(before) if before in TRAINERS else len(TRAINERS)
        for stage in TRAINERS[:stop]:
            for folder in stage_folders(self.folder / stage):
                state |= _of_part(folder, part)
        return state

    def texts(self) -> Texts:
        """Text states of captions."""
        config = self.recipe.model.text
        if isinstance(config, SentenceTextConfig):
            return SentenceTexts(SentenceText(config, {}), self.device)
        tower = self.network("text", "")
        assert isinstance(tower, ClipText)
        return TowerTexts(tower.eval())

    def understanding(
        self, before: str, *, embedding: bool = True, vae: bool = True
    ) -> Understanding:
        """The frozen networks of a diffusion stage."""
        restorer = self.network("srresnet", before).eval()
        coder = self.network("vae", before).eval() if vae else None
        assert isinstance(restorer, SRResNet)
        assert coder is None or isinstance(coder, Autoencoder)
        encoder = self.network("cognitive_encoder", before).eval() if embedding else None
        source = self.recipe.model.low_res_source, self.recipe.model.latents_of
        return Understanding(restorer, encoder, self.texts(), coder, *source)


def stage_folders(folder: Path) -> Iterator[Path]:
    """The folders with checkpoints of a stage, those of its phases in their order."""
    yield from (each.parent for each in sorted(folder.glob(f"**/{checkpoint.FILE}")))


@lru_cache(maxsize=8)
def _averaged(folder: Path, _changed: int) -> dict[str, Tensor]:
    """EMA weights of a checkpoint, which every network of a stage asks for, by when it was
    written."""
    state = checkpoint.read(folder)
    averaged: dict[str, Tensor] = {} if state is None else state["averaged"]
    return averaged


def _of_part(folder: Path, part: str) -> dict[str, Tensor]:
    averaged = _averaged(folder, (folder / checkpoint.FILE).stat().st_mtime_ns)
    head = f"networks.{part}."
    return {k.removeprefix(head): v for k, v in averaged.items() if k.startswith(head)}


def _initialise_attentions(unet: UNet, known: Any) -> None:
    """What the weights to start from lack of the All-in-Attention."""
    if not any("low_res_" in name for name in known):
        initialise_aia_from_base(unet)
        return
    missing = [
        condition
        for condition in unet.config.conditions
        if not any(f".{condition}." in name for name in known)
    ]
    initialise_conditions(unet, missing)


def initialise_conditions(unet: UNet, names: Iterable[str]) -> None:
    """Let the attentions to these conditions begin as those to the low-resolution picture."""
    for name in names:
        for transformer in unet.transformers():
            if isinstance(transformer, AiATransformer):
                initialise_condition(transformer, name)


@torch.no_grad()
def weaken_residuals(network: nn.Module) -> None:
    """Start what residual branches add at a tenth: networks without norms need it, and the result
    of others is nearer to what enters."""
    for name, module in network.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(module, nn.Conv2d) and last == "conv2":
            module.weight.mul_(0.1)
            if module.bias is not None:
                module.bias.zero_()
        elif name in ("conv_out", "decoder.conv_out", "conv_last") or last == "proj_out":
            assert isinstance(module, nn.Linear | nn.Conv2d)
            module.weight.mul_(0.1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fresh weights depend on the stage's seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
