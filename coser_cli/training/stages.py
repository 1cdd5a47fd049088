"""The stages of training, each in a function: what it needs of the earlier ones, and its loop.

A workspace holds one folder per stage (checkpoint, log) and the caches; `export` gathers the EMA
weights in the layout of a model folder, which `coser --model FOLDER` takes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coser_cli.errors import InputError, UsageError
from coser_cli.models.autoencoder import Autoencoder, CFWDecoder
from coser_cli.models.build import make_network, save_component, save_text_states
from coser_cli.models.config import VARIANTS, ModelConfig
from coser_cli.models.srresnet import SRResNet
from coser_cli.training.data import PairPool, PoolConfig, list_photos
from coser_cli.training.degradation import DegradationConfig
from coser_cli.training.latents import Captions, LatentPool, caption_states, write_latents
from coser_cli.training.loop import Loop, LoopConfig
from coser_cli.training.pixels import PixelWeights
from coser_cli.weights.store import save_model_config


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe's tables.

    Raises:
        UsageError: it cannot be read, or names no known model.
    """
    try:
        recipe = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}", "give a recipe such as recipes/mini.toml") from error
    if recipe.get("model") not in VARIANTS:
        raise UsageError(f"{path}: model is none of {', '.join(VARIANTS)}")
    return recipe


@dataclass(frozen=True)
class Workspace:
    """Where a training run lives, and what its stages share."""

    recipe: dict[str, Any]
    data: Path
    folder: Path

    @property
    def config(self) -> ModelConfig:
        """The model's numbers, with the latents' measured scale once the autoencoder is trained."""
        config = VARIANTS[self.recipe["model"]]
        scale = self.folder / "scaling.json"
        if not scale.is_file():
            return config
        coder = replace(config.autoencoder, scaling_factor=json.loads(scale.read_text()))
        return replace(config, autoencoder=coder, cfw=replace(config.cfw, autoencoder=coder))

    @cached_property
    def pool(self) -> PairPool:
        """HR/LR crops of the photos."""
        table = dict(self.recipe["pool"])
        degradation = DegradationConfig(**table.pop("degradation"))
        recipe = PoolConfig(**table, degradation=degradation)
        return PairPool.make(self.data, self.folder / "pool", recipe)

    @cached_property
    def captions(self) -> Captions:
        """Text states of the photos' captions."""
        return caption_states(list_photos(self.data), self.text(), self.config.qformer.num_queries)

    def text(self) -> Any:
        """The model's sentence text side, with nothing stored yet."""
        from coser_cli.models.text import SentenceText

        return SentenceText(self.config.text, {})  # type: ignore[arg-type]

    def loop_config(self, stage: str) -> LoopConfig:
        """The stage's optimisation."""
        table = self.recipe[stage]
        names = {field.name for field in fields(LoopConfig)}
        return LoopConfig(**{name: value for name, value in table.items() if name in names})

    def weights(self, stage: str) -> PixelWeights:
        """The stage's loss weights."""
        return PixelWeights(**self.recipe[stage].get("weights", {}))

    def averaged(self, stage: str) -> dict[str, Tensor]:
        """EMA weights of a finished stage.

        Raises:
            InputError: it has not been run.
        """
        path = self.folder / stage / "checkpoint.pt"
        if not path.is_file():
            raise InputError(f"{path}: not there", f"run `coser train {stage}` first")
        state = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
        head = "module."
        return {name.removeprefix(head): v for name, v in state.items() if name.startswith(head)}

    def network(self, part: str, stage: str) -> nn.Module:
        """A network as a finished stage left it, frozen."""
        network = make_network(self.config, part)
        state = self.averaged(stage)
        head = f"{part}."
        if any(name.startswith(head) for name in state):
            state = {k.removeprefix(head): v for k, v in state.items() if k.startswith(head)}
        network.load_state_dict(state)
        frozen = network.eval().requires_grad_(False)
        return frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def latents(self, rows: int) -> LatentPool:
        """Latents of the pool's first rows, made once."""
        folder = self.folder / "latents"
        if not (folder / "low.npy").is_file():
            coder, restorer = (
                self.network("vae", "autoencoder"),
                self.network("srresnet", "sharpen"),
            )
            assert isinstance(coder, Autoencoder) and isinstance(restorer, SRResNet)
            write_latents(self.pool, coder, restorer, folder, rows)
        return LatentPool(folder, self.pool)


def _train_pixels(
    space: Workspace, stage: str, network: nn.Module, make: Callable[..., Any]
) -> None:
    """Common to the pixel stages: `make(net, batches, picture_loss)` gives the stage."""
    from coser_cli.training.pixels import PictureLoss, make_critic

    config, weights = space.loop_config(stage), space.weights(stage)
    loop = Loop(network, config, space.folder / stage, make_critic(weights))
    picture_loss = PictureLoss(weights, loop.device)
    picture_loss.critic = loop.critics
    batches = space.pool.batches(config.batch, config.crop, config.seed, start=loop.step)
    loop.run(make(loop.unwrapped, batches, picture_loss))


def train_srresnet(space: Workspace) -> None:
    """The pre-restorer by L1."""
    from coser_cli.training.pixels import SRResNetStage

    _train_pixels(space, "srresnet", make_network(space.config, "srresnet"), SRResNetStage)


def train_sharpen(space: Workspace) -> None:
    """The pre-restorer further, with perceptual and adversarial terms."""
    from coser_cli.training.pixels import SRResNetStage

    network = space.network("srresnet", "srresnet").train().requires_grad_(True)
    _train_pixels(space, "sharpen", network, SRResNetStage)


def train_autoencoder(space: Workspace) -> None:
    """Encoder and decoder; then measures the scale that gives latents unit deviation."""
    from coser_cli.training.pixels import AutoencoderStage

    (space.folder / "scaling.json").unlink(missing_ok=True)
    network = make_network(space.config, "vae")
    _train_pixels(space, "autoencoder", network, AutoencoderStage)
    trained = space.network("vae", "autoencoder")
    assert isinstance(trained, Autoencoder)
    sample = torch.from_numpy(np.array(space.pool.high[:64])).float() / 255
    with torch.inference_mode():
        deviation = float(trained.encode(sample).std())
    (space.folder / "scaling.json").write_text(json.dumps(round(1 / deviation, 5)))


def train_cfw(space: Workspace) -> None:
    """The CFW decoder, from the autoencoder's decoder."""
    from functools import partial

    from coser_cli.training.pixels import CFWStage

    coder, restorer = space.network("vae", "autoencoder"), space.network("srresnet", "sharpen")
    network = make_network(space.config, "cfw")
    assert isinstance(coder, Autoencoder) and isinstance(restorer, SRResNet)
    assert isinstance(network, CFWDecoder)
    base = coder.state_dict()
    network.load_state_dict({k: base.get(k, v) for k, v in network.state_dict().items()})
    network.quieten_fusions()
    stage = partial(CFWStage, autoencoder=coder, srresnet=restorer)
    _train_pixels(space, "cfw", network, stage)


def train_cognition(space: Workspace) -> None:
    """Image tower and Q-Former by L_CE."""
    from coser_cli.models.cognition import CognitiveEncoder
    from coser_cli.training.cognition import CognitionStage

    config = space.loop_config("cognition")
    torch.manual_seed(config.seed)
    network = make_network(space.config, "cognitive_encoder")
    assert isinstance(network, CognitiveEncoder)
    network.qformer.aim_at(space.captions.selected)
    loop = Loop(network, config, space.folder / "cognition")
    restorer = space.network("srresnet", "sharpen")
    assert isinstance(restorer, SRResNet)
    batches = space.pool.batches(config.batch, config.crop, config.seed, start=loop.step)
    photo = torch.from_numpy(space.pool.photo)
    loop.run(CognitionStage(loop.unwrapped, restorer, batches, space.captions, photo))


def train_unet(space: Workspace) -> None:
    """The text-conditional base."""
    from coser_cli.training.diffusion import Examples, Forward, UNetStage

    config, table = space.loop_config("unet"), space.recipe["unet"]
    torch.manual_seed(config.seed)
    loop = Loop(make_network(space.config, "unet"), config, space.folder / "unet")
    examples = Examples(
        Forward(space.config.schedule),
        space.latents(table["rows"]),
        config.batch,
        config.crop,
        config.seed,
        table["depth"],
    )
    loop.run(UNetStage(loop.unwrapped, examples, space.captions))  # type: ignore[arg-type]


def train_restoration(space: Workspace) -> None:
    """AiA attentions and ControlNet on the frozen base."""
    from coser_cli.models.controlnet import controlnet_from_unet
    from coser_cli.models.unet import UNet, initialise_aia_from_base, is_aia_parameter
    from coser_cli.training.diffusion import Examples, Forward, RestorationStage
    from coser_cli.training.latents import embeddings

    config, table = space.loop_config("restoration"), space.recipe["restoration"]
    torch.manual_seed(config.seed)
    base = space.network("unet", "unet")
    assert isinstance(base, UNet)
    initialise_aia_from_base(base)
    for name, parameter in base.named_parameters():
        parameter.requires_grad_(is_aia_parameter(name))
    pair = nn.ModuleDict(
        {"unet": base, "controlnet": controlnet_from_unet(base, space.config.controlnet)}
    )
    pair["controlnet"].requires_grad_(True)
    loop = Loop(pair.train(), config, space.folder / "restoration")
    pool = space.latents(table["rows"])
    examples = Examples(
        Forward(space.config.schedule), pool, config.batch, config.crop, config.seed, table["depth"]
    )
    understood = embeddings(
        space.pool,
        space.network("cognitive_encoder", "cognition"),
        space.network("srresnet", "sharpen"),
        len(pool.high),
    )
    unet, controlnet = loop.unwrapped["unet"], loop.unwrapped["controlnet"]  # type: ignore[index]
    loop.run(RestorationStage(unet, controlnet, examples, space.captions, understood))


PARTS = {
    "srresnet": "sharpen",
    "vae": "autoencoder",
    "cfw": "cfw",
    "cognitive_encoder": "cognition",
    "unet": "restoration",
    "controlnet": "restoration",
}


def export(space: Workspace) -> None:
    """Gathers all networks in `model/`, float16, with the states of the two stock prompts."""
    folder = space.folder / "model"
    for part, stage in PARTS.items():
        save_component(space.network(part, stage), folder / part)
    text = space.text()
    text.encode(["", space.config.defaults.negative_prompt])
    save_text_states(text, folder / "text")
    save_model_config(space.config, folder)


STAGES: dict[str, Callable[[Workspace], None]] = {
    "autoencoder": train_autoencoder,
    "srresnet": train_srresnet,
    "sharpen": train_sharpen,
    "cognition": train_cognition,
    "unet": train_unet,
    "restoration": train_restoration,
    "cfw": train_cfw,
    "export": export,
}
