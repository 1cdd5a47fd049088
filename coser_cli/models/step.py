"""Calls of the denoising networks as functions of tensors, so that they can be compiled.

Everything that changes from step to step, or from picture to picture, is an argument in a tree of
tensors; the weights are those of the network. Guidance, the sampler and `on_step` stay outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = Callable[[Any, Any], Any]
"""A function of a network and of a tree of tensors that returns such a tree; it neither waits for
the device nor keeps state.
"""
Execute = Callable[[Step, Any, Any], Any]
"""How a step of a network is run on its inputs; by default `eagerly`."""


def eagerly(step: Step, network: Any, inputs: Any) -> Any:
    """Run the step uncompiled."""
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
