"""Calls of the denoising networks as functions of tensors: what can be compiled.

All that changes from step to step, or from picture to picture, comes in as a tree of tensors; the
weights are those of the network. Guidance, the sampler and `on_step` stay outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = Callable[[Any, Any], Any]
"""A function of a network and of a tree of tensors that gives such a tree: it neither waits for the
device nor keeps anything."""
Execute = Callable[[Step, Any, Any], Any]
"""How a step of a network is run on its inputs; `eagerly`, unless somebody asks for more."""


def eagerly(step: Step, network: Any, inputs: Any) -> Any:
    """The step as it is written."""
    return step(network, inputs)


def forward(network: Any, inputs: Any) -> Any:
    """The U-Net's prediction, or all of a ControlNet's maps."""
    return network(*inputs)


def forward_shallow(network: Any, inputs: Any) -> Any:
    """A ControlNet's maps of the first level."""
    return network(*inputs, shallow=True)


def forward_deep(network: Any, inputs: Any) -> Any:
    """The U-Net's prediction and its deep features, or with those of an earlier step."""
    return network.predict(*inputs)
