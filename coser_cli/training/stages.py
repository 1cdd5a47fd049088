"""The stages of training, each in a function: what it needs of the earlier ones, and its loop.

A workspace holds a folder per stage, and caches; `export` makes a folder that `--model` takes.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from coser_cli.config import VARIANTS, ModelConfig, SentenceTextConfig
from coser_cli.errors import InputError, UsageError
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.build import make_network
from coser_cli.models.cfw import CFWDecoder
from coser_cli.models.srresnet import SRResNet
from coser_cli.models.text import SentenceText
from coser_cli.training.data import PairPool, PoolConfig, list_photos
from coser_cli.training.degradation import DegradationConfig
from coser_cli.training.latents import Captions, LatentPool, caption_states, write_latents
from coser_cli.training.loop import Loop, LoopConfig
from coser_cli.training.pixels import Batches, PixelWeights
from coser_cli.weights.load import save_component, save_text_states
from coser_cli.weights.store import MODEL_FILE, read_model_config, save_model_config

if TYPE_CHECKING:
    from coser_cli.training.diffusion import Examples
    from coser_cli.training.pixels import PictureLoss

STAGE_KEYS = {"weights", "rows", "depth"}
"""Keys of a stage's table that are not the loop's."""


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe's tables. `model` is one of the package's own, or the folder of a `model.json`
    (from the recipe's folder, unless absolute). Raises `UsageError` where it cannot be read, or
    names no model.
    """
    try:
        recipe = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}", "give a recipe such as recipes/mini.toml") from error
    model = str(recipe.get("model"))
    if model in VARIANTS:
        return recipe
    if not (path.parent / model / MODEL_FILE).is_file():
        known = ", ".join(VARIANTS)
        raise UsageError(f"{path}: model is none of {known}, nor a folder with {MODEL_FILE}")
    return recipe | {"model": str(path.parent / model)}


@dataclass(frozen=True)
class Workspace:
    """Where a training run lives, and what its stages share."""

    recipe: dict[str, Any]
    data: Path
    folder: Path

    @property
    def config(self) -> ModelConfig:
        """The model's numbers, with the latents' measured scale once the autoencoder is trained."""
        model = self.recipe["model"]
        config = VARIANTS.get(model) or read_model_config(Path(model))
        scale = self.folder / "scaling.json"
        if not scale.is_file():
            return config
        coder = replace(config.autoencoder, scaling_factor=json.loads(scale.read_text()))
        cfw = config.cfw and replace(config.cfw, autoencoder=coder)
        return replace(config, autoencoder=coder, cfw=cfw)

    @property
    def device(self) -> torch.device:
        """Where accelerate trains."""
        device: torch.device = PartialState().device
        return device

    @cached_property
    def pool(self) -> PairPool:
        """HR/LR crops of the photos."""
        table = dict(self.recipe.get("pool", {}))
        degradation = DegradationConfig(**table.pop("degradation", {}))
        recipe = PoolConfig(**table, degradation=degradation)
        return PairPool.make(self.data, self.folder / "pool", recipe)

    @cached_property
    def captions(self) -> Captions:
        """Text states of the photos' captions."""
        count = self.config.qformer.num_queries
        found = caption_states(list_photos(self.data), self.text(), count)
        return Captions(*(states.to(self.device) for states in found))

    def text(self) -> SentenceText:
        """The model's sentence text side, with nothing stored yet.

        Raises:
            UsageError: the model has a text tower, which is not trained here.
        """
        if not isinstance(self.config.text, SentenceTextConfig):
            raise UsageError(f"{self.config.name} has a text tower; only sentence text is trained")
        return SentenceText(self.config.text, {})

    def loop_config(self, stage: str) -> LoopConfig:
        """The stage's optimisation.

        Raises:
            UsageError: the recipe lacks the stage's table, or it has an unknown key.
        """
        table = self.recipe.get(stage)
        if table is None:
            raise UsageError(f"the recipe has no table [{stage}]")
        names = {field.name for field in fields(LoopConfig)}
        unknown = sorted(table.keys() - names - STAGE_KEYS)
        if unknown:
            raise UsageError(f"the recipe's table [{stage}] has the unknown key {unknown[0]}")
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
        return frozen.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def latents(self, rows: int) -> LatentPool:
        """Latents of the pool's first rows, made once."""
        folder = self.folder / "latents"
        rows = min(rows, len(self.pool.high))
        kept = folder / "low.npy"
        if not kept.is_file() or len(np.load(kept, mmap_mode="r")) != rows:
            coder = self.network("vae", "autoencoder")
            restorer = self.network("srresnet", "sharpen")
            assert isinstance(coder, Autoencoder) and isinstance(restorer, SRResNet)
            write_latents(self.pool, coder, restorer, folder, rows)
        return LatentPool(folder, self.pool)


def _fresh(space: Workspace, part: str, stage: str) -> nn.Module:
    """A network as the stage's seed initialises it."""
    torch.manual_seed(space.loop_config(stage).seed)
    return make_network(space.config, part)


def _train_pixels(
    space: Workspace, stage: str, network: nn.Module, make: Callable[..., Any]
) -> None:
    """Common to the pixel stages: `make(net, batches, picture_loss)` gives the stage."""
    from coser_cli.training.pixels import PictureLoss, make_critic

    config, weights = space.loop_config(stage), space.weights(stage)
    loop = Loop(network, config, space.folder / stage, make_critic(weights))
    picture_loss = PictureLoss(weights, loop.device)
    picture_loss.critic = loop.critics
    batches = _batches(space, config, loop)
    loop.run(make(loop.unwrapped, batches, picture_loss))


def _batches(space: Workspace, config: LoopConfig, loop: Loop) -> Batches:
    """The pool's batches from the loop's step on, where it trains."""
    found = space.pool.batches(config.batch, config.crop, config.seed, start=loop.step)
    return ((high.to(loop.device), low.to(loop.device), rows) for high, low, rows in found)


def train_srresnet(space: Workspace) -> None:
    """The pre-restorer by L1."""
    from coser_cli.training.pixels import SRResNetStage

    _train_pixels(space, "srresnet", _fresh(space, "srresnet", "srresnet"), SRResNetStage)


def train_sharpen(space: Workspace) -> None:
    """The pre-restorer further, with perceptual and adversarial terms."""
    from coser_cli.training.pixels import SRResNetStage

    network = space.network("srresnet", "srresnet").train().requires_grad_(True)
    _train_pixels(space, "sharpen", network, SRResNetStage)


def train_autoencoder(space: Workspace) -> None:
    """Encoder and decoder; then measures the scale that gives latents unit deviation."""
    from coser_cli.training.pixels import AutoencoderStage

    (space.folder / "scaling.json").unlink(missing_ok=True)
    shutil.rmtree(space.folder / "latents", ignore_errors=True)  # of another autoencoder
    network = _fresh(space, "vae", "autoencoder")
    _train_pixels(space, "autoencoder", network, AutoencoderStage)
    trained = space.network("vae", "autoencoder")
    assert isinstance(trained, Autoencoder)
    sample = torch.from_numpy(np.array(space.pool.high[:64])).float() / 255
    with torch.inference_mode():
        deviation = float(trained.encode(sample.to(space.device)).std())
    (space.folder / "scaling.json").write_text(json.dumps(round(1 / deviation, 5)))


def train_cfw(space: Workspace) -> None:
    """The CFW decoder, from the autoencoder's decoder."""
    from coser_cli.training.pixels import CFWStage

    coder, restorer = space.network("vae", "autoencoder"), space.network("srresnet", "sharpen")
    network = _fresh(space, "cfw", "cfw")
    assert isinstance(coder, Autoencoder) and isinstance(restorer, SRResNet)
    assert isinstance(network, CFWDecoder)
    base = coder.state_dict()
    network.load_state_dict({k: base.get(k, v) for k, v in network.state_dict().items()})
    network.quieten_fusions()

    def make(net: CFWDecoder, batches: Batches, picture_loss: PictureLoss) -> CFWStage:
        return CFWStage(net, coder, restorer, batches, picture_loss)

    _train_pixels(space, "cfw", network, make)


def train_cognition(space: Workspace) -> None:
    """Image tower and Q-Former by L_CE."""
    from coser_cli.models.cognitive_encoder import CognitiveEncoder
    from coser_cli.training.cognition import CognitionStage

    config = space.loop_config("cognition")
    network = _fresh(space, "cognitive_encoder", "cognition")
    assert isinstance(network, CognitiveEncoder)
    network.qformer.aim_at(space.captions.selected)
    loop = Loop(network, config, space.folder / "cognition")
    restorer = space.network("srresnet", "sharpen")
    assert isinstance(restorer, SRResNet)
    batches = _batches(space, config, loop)
    photo = torch.from_numpy(space.pool.photo)
    loop.run(CognitionStage(loop.unwrapped, restorer, batches, space.captions, photo))


def _examples(space: Workspace, stage: str, loop: Loop) -> Examples:
    from coser_cli.training.diffusion import Examples, Forward

    config, table = space.loop_config(stage), space.recipe[stage]
    pool = space.latents(table.get("rows", len(space.pool.high)))
    forward = Forward(space.config.schedule, loop.device)
    depth = table.get("depth", 1.0)
    return Examples(forward, pool, config.batch, config.crop, config.seed, depth)


def train_unet(space: Workspace) -> None:
    """The text-conditional base."""
    from coser_cli.training.diffusion import UNetStage

    config = space.loop_config("unet")
    loop = Loop(_fresh(space, "unet", "unet"), config, space.folder / "unet")
    examples = _examples(space, "unet", loop)
    loop.run(UNetStage(loop.unwrapped, examples, space.captions))  # type: ignore[arg-type]


def train_restoration(space: Workspace) -> None:
    """AiA attentions and ControlNet on the frozen base."""
    from coser_cli.models.controlnet import controlnet_from_unet
    from coser_cli.models.unet import UNet, initialise_aia_from_base, is_aia_parameter
    from coser_cli.training.diffusion import RestorationStage
    from coser_cli.training.latents import embeddings

    config = space.loop_config("restoration")
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
    examples = _examples(space, "restoration", loop)
    understood = embeddings(
        space.pool,
        space.network("cognitive_encoder", "cognition"),
        space.network("srresnet", "sharpen"),
        len(examples.pool.high),
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
    """Gathers all networks in `model/`, float16, with the states of the two stock prompts.

    The SRResNet is `blend` parts the one before sharpening: network interpolation, which takes
    off artefacts (ESRGAN, Wang et al. 2018, sec. 3.4).
    """
    folder = space.folder / "model"
    for part, stage in PARTS.items() - ({("cfw", "cfw")} if space.config.cfw is None else set()):
        network = space.network(part, stage)
        if part == "srresnet":
            blend = space.recipe.get("export", {}).get("blend", 0.0)
            before, after = space.averaged("srresnet"), space.averaged(stage)
            network.load_state_dict({k: after[k].lerp(before[k], blend) for k in after})
        save_component(network, folder / part)
    (text := space.text()).encode(["", space.config.defaults.negative_prompt])
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
