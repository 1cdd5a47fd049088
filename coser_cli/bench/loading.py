"""The model that is measured: as installed, or of the same structure with random weights."""

from __future__ import annotations

import torch

from coser_cli.bench.synthetic import synthetic_model, synthetic_sizes
from coser_cli.config import VARIANTS, ModelConfig
from coser_cli.engine.compute.device import choose_device, choose_dtype
from coser_cli.engine.compute.memory import available_memory, gib
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import DeviceError, WeightsError
from coser_cli.models.residency import STAGES, Placement
from coser_cli.weights.store import model_folder, read_model_config, resolve_model

ATTRIBUTES = {"vae": "autoencoder", "cognitive_encoder": "cognition"}
"""Attributes of `CoSeR` that do not have the name of their part."""


def load(
    model: str, device: str, dtype: str, *, synthetic: bool = False, seed: int = 0
) -> tuple[Upscaler, bool]:
    """An upscaler, and whether its weights are random: where they are to be `synthetic`, and for a
    known model that is not installed. No network is loaded yet.

    Raises `WeightsError` for a model that is not known, `DeviceError` where random weights would
    not fit the memory.
    """
    config, installed = _config_of(model)
    if installed and not synthetic:
        return Upscaler.from_pretrained(model, device=device, dtype=dtype), False
    where = choose_device(device)
    precision = choose_dtype(dtype, where)
    _require_room(config, where, precision)
    network = synthetic_model(config, Placement(where, precision), seed)
    return Upscaler(Runtime(network, where, precision)), True


def load_networks(upscaler: Upscaler, stages: tuple[str, ...]) -> None:
    """Load every network of these stages (keys of `STAGES`) onto the device, as a picture would."""
    for stage in stages:
        upscaler.runtime.enter(stage)
        for part in sorted(STAGES[stage]):
            getattr(upscaler.model, ATTRIBUTES.get(part, part))


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
