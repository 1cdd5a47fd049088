"""Calls of the denoising networks as functions of tensors: what can be compiled, or captured.

All that changes from step to step, or from picture to picture, comes in as a tree of tensors; the
weights are those of the network. Guidance, the sampler and `on_step` stay outside.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Any, Any], Any]
"""A function of a network and of a tree of tensors that gives such a tree: it neither waits for the
device nor keeps anything."""
Execute = Callable[[Step, Any, Any], Any]
"""How a step of a network is run on what it is given; `eagerly`, unless somebody asks for more."""
TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Relative distance up to which two ways to compute one step in a number type are the same. What is
wrong is off by far more; what rounds otherwise by less, the jumps of the one-hot attention between
equally similar places among it."""


def eagerly(step: Step, network: Any, given: Any) -> Any:
    """The step as it is written."""
    return step(network, given)


def forward(network: Any, given: Any) -> Any:
    """The U-Net's prediction, or all of a ControlNet's maps."""
    return network(*given)


def forward_shallow(network: Any, given: Any) -> Any:
    """A ControlNet's maps of the first level."""
    return network(*given, shallow=True)


def forward_deep(network: Any, given: Any) -> Any:
    """The U-Net's prediction and its deep features, or with those of an earlier step."""
    return network.predict(*given)


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


def agree(found: Any, expected: Any) -> bool:
    """Whether two trees of tensors, the second of them finite, are the same but for rounding: each
    tensor by itself."""
    pairs = zip(leaves(found), leaves(expected), strict=True)
    return all(_same(one, other) for one, other in pairs)


def _same(found: Tensor, expected: Tensor) -> bool:
    distance = (found.float() - expected.float()).norm()
    limit = TOLERANCE.get(expected.dtype, 1e-3) * expected.float().norm()
    return found.shape == expected.shape and bool(distance <= limit)  # not so for what is no number


def is_finite(found: Any) -> bool:
    """Whether there is something to compare with."""
    return all(bool(leaf.isfinite().all()) for leaf in leaves(found))
