"""From a model's folder to its networks, and from networks into a folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from coser_cli.config import ModelConfig, SentenceTextConfig
from coser_cli.errors import WeightsError
from coser_cli.models.build import PARTS, CoSeR, build, make_network
from coser_cli.models.residency import Placement, dtype_of, stream
from coser_cli.size import PartSize
from coser_cli.weights import store

if TYPE_CHECKING:
    from coser_cli.models.text import SentenceText


def load_model(
    model: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    offload: str = "none",
    low_memory: bool = False,
    pre_restorer: Any = None,
) -> CoSeR:
    """The model of that name ("auto": `sd21` if installed, else `mini`) or in that folder.

    `offload` and `low_memory` as in `Placement`; a `pre_restorer` (an `Enlarger` that takes
    `memory` bytes) takes the place of the SRResNet. Raises WeightsError if there is none; networks
    may raise it later, when first used.
    """
    folder = store.model_folder(model)
    config = store.read_model_config(folder)
    placement = Placement(torch.device(device), dtype, offload, low_memory)
    read, sizes = partial(_load_part, folder, config, placement), part_sizes(folder, dtype)

    def load(part: str) -> Any:
        return read(part) if pre_restorer is None or part != "srresnet" else pre_restorer

    if pre_restorer is not None:
        passes = {"pass_scale": pre_restorer.scale, "pass_memory": pre_restorer.memory}
        config = replace(config.pre_restored(), **passes)
        sizes.pop("srresnet", None)
    how = {"offload": offload, "low_memory": low_memory, "pre_restorer": pre_restorer}
    return CoSeR(config, load, placement, sizes, partial(load_model, folder, device, **how))


def part_sizes(folder: Path, dtype: torch.dtype) -> dict[str, PartSize]:
    """Sizes in `dtype` of the parts that the model in `folder` has; only headers are read."""
    sizes = {}
    for part in PARTS:
        with suppress(WeightsError):  # a part that is missing or damaged is reported when needed
            sizes[part] = store.part_size(folder, part, dtype_of(part, dtype).itemsize)
    return sizes


def _load_part(folder: Path, config: ModelConfig, placement: Placement, part: str) -> Any:
    if part == "cfw" and not store.has_part(folder, part):
        return None
    if part == "text" and isinstance(config.text, SentenceTextConfig):
        return _load_text_states(folder, config.text, placement)
    placement = placement.of(part)
    make, source = partial(make_network, config, part), str(folder / part)
    if not placement.streams(part):
        fit = partial(placement.fit, device=placement.home)
        return build(make, store.convert_part(folder, part, fit), source)
    if placement.forgets:
        network = build(make, store.read_part(folder, part), source)
        stream(network, partial(store.read_tensors, folder, part), placement.fit)
        return network
    state = store.convert_part(folder, part, partial(placement.fit, device=placement.home))
    network = build(make, state, source)
    stream(network, lambda names: {name: state[name] for name in names}, placement.fit)
    return network


def save_component(network: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a network with its `config` into a part's folder, floating tensors as `dtype`."""
    config: Any = network.config
    store.save_part(network.state_dict(), asdict(config), folder, dtype)


def save_text_states(text: SentenceText, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the states that a sentence text side holds into its part's folder."""
    config = asdict(text.config) | {"prompts": list(text.states)}
    states = torch.stack(list(text.states.values()))
    store.save_part({"states": states}, config, folder, dtype)


def _load_text_states(
    folder: Path, config: SentenceTextConfig, placement: Placement
) -> SentenceText:
    from coser_cli.models.text import SentenceText

    prompts = store.read_part_config(folder, "text")["prompts"]
    states = placement.fit(store.read_part(folder, "text")["states"])
    return SentenceText(config, dict(zip(prompts, states, strict=True)))
