"""The stages of training, each in a function: what it needs of the earlier ones, and its loop.

A workspace holds a folder per stage; `export` makes a folder that `--model` takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from coser_cli.errors import UsageError
from coser_cli.models.aia import is_aia_parameter
from coser_cli.models.aia import is_condition_parameter as of_condition
from coser_cli.models.cognitive_encoder import CognitiveEncoder
from coser_cli.models.controlnet import ControlNet, controlnet_from_unet
from coser_cli.models.srresnet import SRResNet
from coser_cli.models.unet import UNet, initialise_aia_from_base
from coser_cli.training.examples import HELD_OUT_SEED, Batch, ExampleConfig, PhotoExamples
from coser_cli.training.export import export
from coser_cli.training.forward import Forward
from coser_cli.training.gradient_checkpointing import checkpoint_blocks
from coser_cli.training.loop import Loop, LoopConfig, Objective
from coser_cli.training.losses import CriticLoss, PictureLoss
from coser_cli.training.objectives import (
    CognitionObjective,
    SRResNetObjective,
    aim_at_captions,
)
from coser_cli.training.one_step import OneStepObjective
from coser_cli.training.pool import PoolExamples, import_pool, write_pool
from coser_cli.training.processes import this_process
from coser_cli.training.recipe import (
    CognitionOptions,
    ConditionOptions,
    OneStepOptions,
    RestorationOptions,
    SRResNetOptions,
    parse,
)
from coser_cli.training.restoration import RestorationObjective
from coser_cli.training.teacher import open_teacher
from coser_cli.training.teacher_start import start_in
from coser_cli.training.workspace import Workspace, initialise_conditions, seeded


@dataclass(frozen=True)
class Prepared:
    """A stage ready to run: what it minimises, by which numbers, on which examples."""

    objective: Objective
    config: LoopConfig
    folder: Path
    examples: Callable[[bool], Dataset[Batch]]
    identity: dict[str, Any]
    critic: nn.Module | None = None

    def run(self, space: Workspace) -> None:
        """Train it. `examples(True)` are the held-out ones, asked for only where there are any."""
        if self.config.gradient_checkpointing:
            checkpoint_blocks(self.objective)
        loop = Loop(
            self.objective,
            self.config,
            self.folder,
            critic=self.critic,
            identity=self.identity,
            tensorboard=space.tensorboard,
        )
        shown = self.config.samples_every or self.config.held_out_every
        loop.run(self.examples(False), self.examples(True) if shown else None)


Prepare = Callable[[Workspace], Prepared]


def make_teacher_pool(space: Workspace) -> None:
    """The pool of degraded crops, with the teacher's pictures of them."""
    process = this_process()
    rank, world = process.process_index, process.num_processes
    folder = space.folder / "teacher"
    if space.pool.npz:
        files = space.recipe.path.parent / space.pool.npz
        import_pool(files, folder, space.pool, rank, world)
        return
    teacher = open_teacher(space.pool.teacher, process.device)
    write_pool(space.source, space.rows[0], folder, space.pool, teacher, rank=rank, world=world)


def _photos(space: Workspace, config: ExampleConfig) -> Callable[[bool], Dataset[Batch]]:
    """Examples of the pictures to train on, or of those held out."""
    config = replace(config, degradation=space.recipe.degradation())

    def examples(held: bool) -> Dataset[Batch]:
        if not held:
            return PhotoExamples(space.source, space.rows[0], config)
        rows = space.rows[1] if len(space.rows[1]) else space.rows[0][:1]
        same = "same_picture" if config.references else ""  # a class may have one picture there
        other = replace(config, seed=HELD_OUT_SEED + config.seed, references=same)
        return PhotoExamples(space.source, rows, other)

    return examples


def _pooled(space: Workspace, crop: int, seed: int) -> Callable[[bool], Dataset[Batch]]:
    """Examples of the pool, or of the photos where the recipe makes none."""
    if not space.recipe.has("pool"):
        return _photos(space, ExampleConfig(crop, seed, prompt_share=0.0))
    folder = space.folder / "teacher"

    def examples(held: bool) -> Dataset[Batch]:
        order = HELD_OUT_SEED + seed if held else seed
        source = None if space.data is None else space.source
        return PoolExamples(folder, source, space.pool, crop, order, held=held)

    return examples


def prepare_srresnet(space: Workspace) -> Prepared:
    """The pre-restorer, by L1 to the teacher's and the true pictures."""
    config, options = space.stage("srresnet", SRResNetOptions)
    with seeded(config.seed):
        fresh = (lambda _: True) if options.restart else (lambda _: False)
        network = space.network("srresnet", "srresnet", fresh).train().requires_grad_(True)
    assert isinstance(network, SRResNet)
    objective = SRResNetObjective(network, PictureLoss(options.weights, space.device))
    examples = _pooled(space, options.crop, config.seed)
    identity = space.identity(options)
    return Prepared(objective, config, space.folder / "srresnet", examples, identity)


def prepare_cognition(space: Workspace) -> Prepared:
    """Q-Former and SRResNet by L_CE, CLIP frozen (stage 1 of the paper)."""
    config, options = space.stage("cognition", CognitionOptions)
    fresh: Callable[[str], bool] = (
        (lambda name: not name.startswith("clip.")) if options.restart else (lambda _: False)
    )
    texts = space.texts()
    with seeded(config.seed):
        encoder = space.network("cognitive_encoder", "cognition", fresh)
        restorer = space.network("srresnet", "cognition", fresh)
        assert isinstance(encoder, CognitiveEncoder) and isinstance(restorer, SRResNet)
        if not space.meta:
            space.require_captions()
            _aim(space, encoder, texts, options)
    encoder.train().requires_grad_(True)
    if not options.train_clip:
        encoder.clip.requires_grad_(False)
    restorer.train().requires_grad_(options.train_srresnet)
    objective = CognitionObjective(encoder, restorer, texts)
    examples = _photos(space, ExampleConfig(options.crop, config.seed))
    identity = space.identity(options)
    return Prepared(objective, config, space.folder / "cognition", examples, identity)


def _aim(
    space: Workspace, encoder: CognitiveEncoder, texts: Any, options: CognitionOptions
) -> None:
    """A Q-Former without weights to start from begins at the captions' statistics."""
    if options.restart or not space.starts_with("cognitive_encoder"):
        few = space.source.pictures[:256]
        aim_at_captions(encoder, texts, [picture.caption or "" for picture in few])


def prepare_restoration(space: Workspace) -> Prepared:
    """AiA attentions and ControlNet on the frozen base (stage 2 of the paper)."""
    config, options = space.stage("restoration", RestorationOptions)
    fresh = is_aia_parameter if options.restart else (lambda _: False)
    with seeded(config.seed):
        unet = space.network("unet", "restoration", fresh)
        assert isinstance(unet, UNet)
        controlnet = _controlnet(space, unet, restart=options.restart)
    for name, parameter in unet.named_parameters():
        conditions = unet.config.conditions
        learns = is_aia_parameter(name) and not any(of_condition(name, c) for c in conditions)
        parameter.requires_grad_(learns)
    networks = nn.ModuleDict({"unet": unet, "controlnet": controlnet.requires_grad_(True)})
    return _prepared_diffusion(space, "restoration", networks, config, options, ())


def _controlnet(space: Workspace, unet: UNet, *, restart: bool) -> ControlNet:
    """Of the weights to start from, or a copy of the base's encoder."""
    if not space.meta and (restart or not space.starts_with("controlnet")):
        if not any("low_res_" in name for name in space.trained("unet", "restoration")) and restart:
            initialise_aia_from_base(unet)
        return controlnet_from_unet(unet, space.recipe.model.controlnet)
    network = space.network("controlnet", "restoration")
    assert isinstance(network, ControlNet)
    return network


def prepare_condition(space: Workspace) -> Prepared:
    """The attentions to one further condition; all else is frozen."""
    config, options = space.stage("condition", ConditionOptions)
    with seeded(config.seed):
        unet = space.network("unet", "condition")
        controlnet = space.network("controlnet", "condition")
    assert isinstance(unet, UNet)
    if not space.meta:
        initialise_conditions(unet, [options.name])
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(of_condition(name, options.name))
    networks = nn.ModuleDict({"unet": unet, "controlnet": controlnet})
    return _prepared_diffusion(space, "condition", networks, config, options, (options.name,))


def _prepared_diffusion(
    space: Workspace,
    stage: str,
    networks: nn.ModuleDict,
    config: LoopConfig,
    options: RestorationOptions,
    conditions: tuple[str, ...],
) -> Prepared:
    understanding = space.understanding(stage)
    process = Forward(space.recipe.model.schedule, space.device, options.snr_cap)
    objective = RestorationObjective(networks.train(), understanding, process, conditions)
    examples = ExampleConfig(options.crop, config.seed, options.references, options.prompt_share)
    if options.prompt_share and not space.meta:
        space.require_captions()
    identity = space.identity(options)
    return Prepared(objective, config, space.folder / stage, _photos(space, examples), identity)


def one_step_phases(space: Workspace) -> list[str]:
    """Names of the phases of the stage "one_step"."""
    table = space.recipe.table("one_step")
    return [str(phase.get("name", n)) for n, phase in enumerate(table.get("phase", [{}]))]


def prepare_one_step(space: Workspace, phase: int = 0) -> Prepared:
    """One phase of a one-step model."""
    table = dict(space.recipe.table("one_step"))
    phases = table.pop("phase", [{}])
    joined = {**table, **phases[phase], **space.overrides}
    name = joined.pop("name", str(phase))
    config, options = parse(joined, "one_step", LoopConfig, OneStepOptions)
    one_step = space.recipe.model.one_step
    if one_step is None:
        raise UsageError(
            f"{space.recipe.model.name} is no one-step model",
            "set timestep in [one_step], or add one_step to model.json",
        )
    with seeded(config.seed):
        networks = _one_step_networks(space, options)
    understanding = space.understanding("one_step", embedding=options.embedding, vae=False)
    loss = PictureLoss(options.weights, space.device)
    process = Forward(space.recipe.model.schedule, space.device)
    objective = OneStepObjective(networks, understanding, process, one_step, loss, options.plain)
    examples = (
        _photos(space, ExampleConfig(options.crop, config.seed, options.references, 0.0))
        if options.references
        else _pooled(space, options.crop, config.seed)
    )
    folder = space.folder / "one_step" / f"{phase}-{name}"
    critic = CriticLoss(loss.critic) if loss.critic is not None else None
    return Prepared(objective, config, folder, examples, space.identity(options), critic)


def _one_step_networks(space: Workspace, options: OneStepOptions) -> nn.ModuleDict:
    """The networks that phases so far have left, in parts to learn and frozen ones."""
    known = {"vae", "unet", "controlnet", "aia"}
    if set(options.train) - known:
        raise UsageError(f"[one_step] trains none of {', '.join(sorted(known))}: {options.train}")
    networks = {part: space.network(part, "one_step") for part in ("vae", "unet", "controlnet")}
    if options.teacher_start and not space.meta:
        start_in(space, nn.ModuleDict(networks))
    for part, network in networks.items():
        if not space.meta:
            network.load_state_dict(space.trained(part), strict=False)
        network.train().requires_grad_(part in options.train)
    for name, parameter in networks["unet"].named_parameters():
        if "aia" in options.train and is_aia_parameter(name):
            parameter.requires_grad_(True)
        if "reference_" in name and not options.references:
            parameter.requires_grad_(False)  # nothing is seen through it
    return nn.ModuleDict(networks)


def train_one_step(space: Workspace) -> None:
    """All phases; each starts from the EMA of the one before."""
    for phase in range(len(one_step_phases(space))):
        prepare_one_step(space, phase).run(space)


def _trainer(prepare: Prepare) -> Callable[[Workspace], None]:
    return lambda space: prepare(space).run(space)


PREPARE: dict[str, Prepare] = {
    "srresnet": prepare_srresnet,
    "cognition": prepare_cognition,
    "restoration": prepare_restoration,
    "condition": prepare_condition,
    "one_step": prepare_one_step,
}
STAGES: dict[str, Callable[[Workspace], None]] = {
    "teacher": make_teacher_pool,
    **{name: _trainer(prepare) for name, prepare in PREPARE.items()},
    "one_step": train_one_step,
    "export": export,
}
