"""The model that is measured: as installed, or of the same structure with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from coser_cli.bench.synthetic import synthetic_model, synthetic_sizes
from coser_cli.config import VARIANTS, ModelConfig
from coser_cli.engine.compute.device import choose_device, choose_dtype
from coser_cli.engine.compute.memory import available_memory, gib
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import DeviceError, WeightsError
from coser_cli.models.build import CoSeR
from coser_cli.models.residency import STAGES, Placement
from coser_cli.weights.store import model_folder, read_model_config, resolve_model

NETWORKS: dict[str, Callable[[CoSeR], object]] = {
    "srresnet": lambda model: model.srresnet,
    "vae": lambda model: model.autoencoder,
    "cfw": lambda model: model.cfw,
    "text": lambda model: model.text,
    "cognitive_encoder": lambda model: model.cognition,
    "unet": lambda model: model.unet,
    "controlnet": lambda model: model.controlnet,
}
"""How each part of a model is asked for."""


@dataclass(frozen=True)
class Choice:
    """Which model, on what, and whether its weights are random ones."""

    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    synthetic: bool = False


def load(choice: Choice, seed: int = 0) -> tuple[Upscaler, bool]:
    """An upscaler, and whether its weights are synthetic: where that was asked for, and for a known
    model that is not installed. No network is there yet.

    Raises `WeightsError` for a model that is not known, `DeviceError` where random weights would
    not fit the memory.
    """
    config, installed = _config_of(choice.model)
    if installed and not choice.synthetic:
        return Upscaler.from_pretrained(
            choice.model, device=choice.device, dtype=choice.dtype
        ), False
    device = choose_device(choice.device)
    dtype = choose_dtype(choice.dtype, device)
    _require_room(config, device, dtype)
    model = synthetic_model(config, Placement(device, dtype), seed)
    return Upscaler(Runtime(model, device, dtype)), True


def bring(upscaler: Upscaler, stages: tuple[str, ...]) -> None:
    """Have every network of these stages (keys of `STAGES`) made and on the device, as a picture
    would on its way."""
    for stage in stages:
        upscaler.runtime.enter(stage)
        for part in sorted(STAGES[stage]):
            NETWORKS[part](upscaler.model)


def _config_of(name: str) -> tuple[ModelConfig, bool]:
    """The configuration of a model, and whether its weights are there."""
    try:
        return read_model_config(model_folder(name)), True
    except WeightsError:
        resolved = resolve_model(name)
        if resolved not in VARIANTS:
            raise
        return VARIANTS[resolved], False


def _require_room(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
    needed = sum(size.total for size in synthetic_sizes(config, dtype).values())
    free = available_memory(device)
    if free is not None and needed > free:
        raise DeviceError(
            f"the weights of {config.name} take {gib(needed)} GiB, {gib(free)} are free on"
            f" {device.type}",
            "use a smaller --dtype, or --model mini",
        )
