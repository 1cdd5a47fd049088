"""Checkpoints: one file, written by the main process beside the old one and renamed.

Only what is trained lies in it, under the networks' own names, whole: so it may be continued by
another number of processes, wrapped in another way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from coser_cli.errors import UsageError, WeightsError

FILE = "checkpoint.pt"
FREE_KEYS = {
    "steps", "minutes", "checkpoint_every", "log_every", "samples_every", "held_out_every",
    "workers", "accumulation", "gradient_checkpointing", "mixed_precision",
}  # fmt: skip
"""Numbers of a stage that may change where a run is continued."""


class Averaged:
    """Exponential mean of the trained parameters, by name; warms up as (1 + n) / (10 + n)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.state = {name: p.detach().clone() for name, p in trained(model)}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the parameters after a step."""
        self.count += 1
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        for name, parameter in trained(model):
            self.state[name].lerp_(parameter.detach(), weight)

    def whole(self) -> dict[str, Tensor]:
        """All of it on the CPU; every process must call this where parameters are sharded."""
        return {name: _whole(tensor).cpu() for name, tensor in self.state.items()}

    def load(self, state: Mapping[str, Tensor], count: int) -> None:
        """Go on from what `whole` gave."""
        self.count = count
        for name, tensor in self.state.items():
            tensor.copy_(_sharded_like(state[name], tensor))


def trained(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """Parameters that are trained, under their networks' own names."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name.removeprefix("module."), parameter


def _whole(tensor: Tensor) -> Tensor:
    full = getattr(tensor, "full_tensor", None)  # a DTensor of FSDP
    return tensor if full is None else full()


def _sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    if not hasattr(like, "full_tensor"):
        return tensor.to(like)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def gather(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Trained weights, buffers and the optimiser's state, whole and on the CPU."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    inner = getattr(optimizer, "optimizer", optimizer)
    return {
        "model": get_model_state_dict(model, options=options),
        "optimizer": get_optimizer_state_dict(model, inner, options=options),
    }


def scatter(model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put back what `gather` gave, however the model is wrapped now."""
    options = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
    inner = getattr(optimizer, "optimizer", optimizer)
    set_model_state_dict(model, state["model"], options=options)
    set_optimizer_state_dict(model, inner, state["optimizer"], options=options)


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the checkpoint; the old one stays until the new one is whole on the disk.

    Raises:
        WeightsError: it cannot be written, a full disk among other reasons.
    """
    part = folder / f"{FILE}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / FILE)
    except (OSError, RuntimeError) as error:  # torch turns some of the first into the second
        with suppress(OSError):
            part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise WeightsError(
            f"{folder / FILE}: cannot be written ({reason}); the checkpoint before it is whole",
            "make room, then run the same command again: it goes on from there",
        ) from error


def read(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a folder, on the CPU; None if there is none yet.

    Raises:
        WeightsError: it is damaged, or of something else.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if not {"model", "averaged", "step", "identity"} <= state.keys():
            raise KeyError("it is no checkpoint of this program's")
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{file}: not a checkpoint that can be continued ({reason})",
            "restore it, or start again in another --work folder",
        ) from error
    return state


def identity_of(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """What must not change between a run and its continuation, as plain JSON values."""
    joined = {key: value for table in tables for key, value in table.items()}
    kept = {key: value for key, value in joined.items() if key not in FREE_KEYS}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str, sort_keys=True))
    return plain


def require_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises UsageError, which names the first difference, where a run is not the same."""
    for path, before, now in _differences(old, new):
        raise UsageError(
            f"{folder / FILE}: it is of another configuration: {path} was {before}, now it is"
            f" {now}",
            "take the old value, or start again in another --work folder",
        )


def _differences(old: Any, new: Any, path: str = "") -> Iterable[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield path, old, new
