"""A whole model with random weights, for measuring where its published ones are not installed.

Time does not depend on the values of weights, as long as all that is computed stays finite and
nothing is zero: weights are uniform as torch initialises linear layers, norms pass through, and
projections that training would start at zero are as random as the others.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coser_cli.config import ModelConfig, SentenceTextConfig
from coser_cli.models.build import PARTS, CoSeR, build, make_network, skeleton
from coser_cli.models.residency import Placement, dtype_of
from coser_cli.size import PartSize


def synthetic_model(config: ModelConfig, placement: Placement, seed: int = 0) -> CoSeR:
    """A model of this configuration; every network is made on its device when first needed.

    A tensor is a function of the seed, of its names and of the device's kind.
    """
    return CoSeR(config, partial(_make, config, placement, seed), placement)


def synthetic_sizes(config: ModelConfig, dtype: torch.dtype) -> dict[str, PartSize]:
    """What the weights of such a model take; nothing is made."""
    return {part: _size(config, part, dtype) for part in PARTS if _is_network(config, part)}


def _is_network(config: ModelConfig, part: str) -> bool:
    if part == "cfw":
        return config.cfw is not None
    return part != "text" or not isinstance(config.text, SentenceTextConfig)


def _size(config: ModelConfig, part: str, dtype: torch.dtype) -> PartSize:
    state = skeleton(partial(make_network, config, part)).state_dict()
    sizes = [tensor.numel() * dtype_of(part, dtype).itemsize for tensor in state.values()]
    return PartSize(sum(sizes), max(sizes))


def _make(config: ModelConfig, placement: Placement, seed: int, part: str) -> Any:
    if not _is_network(config, part):
        return _make_text(config, placement, seed)
    placement, make = placement.of(part), partial(make_network, config, part)
    state = {
        name: _fill(name, like, placement, f"{seed}/{part}/{name}")
        for name, like in skeleton(make).state_dict().items()
    }
    return build(make, state, f"synthetic {config.name}/{part}")


def _make_text(config: ModelConfig, placement: Placement, seed: int) -> Any:
    """Random states of the two prompts that a model without a text tower stores."""
    from coser_cli.models.text import SentenceText

    assert isinstance(config.text, SentenceTextConfig)
    like = torch.empty(config.text.context_length, config.text.width, device="meta")
    prompts = ("", config.defaults.negative_prompt)
    states = {p: _fill("states", like, placement, f"{seed}/text/{p}") for p in prompts}
    return SentenceText(config.text, states)


def _fill(name: str, like: Tensor, placement: Placement, key: str) -> Tensor:
    """Values for one tensor, in the order in memory that networks want."""
    device, dtype = placement.device, placement.dtype
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype, device=device)
    if like.dim() == 1 and name.endswith("weight"):  # of a norm
        return torch.ones(like.shape, dtype=dtype, device=device)
    order = torch.channels_last if like.dim() == 4 else torch.contiguous_format
    tensor = torch.empty(like.shape, dtype=dtype, device=device, memory_format=order)
    digest = hashlib.sha256(key.encode()).digest()
    generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    bound = like[0].numel() ** -0.5 if like.dim() > 1 else 0.02
    return tensor.uniform_(-bound, bound, generator=generator)
