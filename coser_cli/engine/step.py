"""One step's prediction as a function of tensors: what can be compiled, and captured as a graph.

All that changes from step to step, or from picture to picture, comes in as a tensor; the weights
are those of the networks. Guidance, the sampler and `on_step` stay outside.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from coser_cli.models.resnet import PreparedTime
    from coser_cli.models.transformer import PreparedContext


@dataclass(frozen=True)
class Networks:
    """What predicts: a `UNet` and a `ControlNet`, or what is called as they are."""

    unet: Any
    controlnet: Any = None


@dataclass(frozen=True)
class Hints:
    """What the ControlNet is given: hint latents, at most `(2·B, 4, h, w)` per call, those of the
    low-resolution image first; its time and its context."""

    calls: tuple[Tensor, ...]
    time: PreparedTime
    context: PreparedContext


@dataclass(frozen=True)
class Given:
    """What one prediction is made from: latents `(B, 4, h, w)`, the U-Net's time and context, and
    hints, without which both new attentions are left out."""

    latents: Tensor
    time: PreparedTime
    context: PreparedContext
    hints: Hints | None = None


Step = Callable[[Networks, Any], Tensor]
"""A function of networks and of a tree of tensors: it neither waits for the device nor keeps
anything."""
Execute = Callable[[Step, Networks, Any], Tensor]
"""How a step is run on what it is given; `eagerly`, unless somebody asks for more."""


def predict(networks: Networks, given: Given) -> Tensor:
    """Prediction `(branches·B, 4, h, w)`, branch-major: the step of both passes."""
    from coser_cli.models.unet import Controls

    batch, hints = given.latents.shape[0], given.hints
    controls = None
    if hints is not None:
        control = hints.time, hints.context
        parts = [
            networks.controlnet(given.latents, control[0], call, control[1]) for call in hints.calls
        ]
        maps = [torch.cat(same) if len(same) > 1 else same[0] for same in zip(*parts, strict=True)]
        alone = maps[0].shape[0] == batch
        references = None if alone else tuple(each[batch:] for each in maps)
        controls = Controls(tuple(each[:batch] for each in maps), references)
    prediction: Tensor = networks.unet(given.latents, given.time, given.context, controls)
    return prediction


def eagerly(step: Step, networks: Networks, given: Any) -> Tensor:
    """The step as it is written."""
    return step(networks, given)


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tree of dataclasses and tuples, in the order of their fields."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for part in _parts(tree) for leaf in leaves(part)]


def with_leaves(tree: Any, found: Iterator[Tensor]) -> Any:
    """The same tree with other tensors, taken from `found`."""
    if isinstance(tree, Tensor):
        return next(found)
    if tree is None:
        return None
    parts = (with_leaves(part, found) for part in _parts(tree))
    return tuple(parts) if isinstance(tree, tuple) else type(tree)(*parts)


def form_of(tree: Any) -> Hashable:
    """All of a tree that code made for it may rely on, and that is not a number in a tensor."""
    if isinstance(tree, Tensor):
        place = tree.dtype, str(tree.device), tree.is_inference()
        return tuple(tree.shape), tree.stride(), *place
    return type(tree), *(form_of(part) for part in _parts(tree))


def kind_of(tree: Any) -> Hashable:
    """What forms that differ in their batch alone have in common."""
    if isinstance(tree, Tensor):
        return tuple(tree.shape[1:]), tree.dtype, str(tree.device), tree.is_inference()
    return type(tree), *(kind_of(part) for part in _parts(tree))


def _parts(tree: Any) -> tuple[Any, ...]:
    """Raises TypeError for what no tree of tensors has."""
    if tree is None:
        return ()
    if isinstance(tree, tuple):
        return tree
    if is_dataclass(tree):
        return tuple(getattr(tree, each.name) for each in fields(tree))
    raise TypeError(f"a tree of tensors holds no {type(tree).__name__}")


TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Relative distance up to which two ways to compute one step in a number type are the same. What is
wrong is off by far more; what rounds otherwise by less, the jumps of the one-hot attention between
equally similar places among it."""


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two results of a step, the second of them finite, are the same but for rounding."""
    distance = (found.float() - expected.float()).norm()
    limit = TOLERANCE.get(expected.dtype, 1e-3) * expected.float().norm()
    return found.shape == expected.shape and bool(distance <= limit)  # not so for what is no number


def is_finite(found: Tensor) -> bool:
    """Whether there is something to compare with."""
    return bool(found.isfinite().all())
