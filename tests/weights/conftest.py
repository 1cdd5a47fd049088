"""Toy models with CLIP's text side, and their checkpoints in the published layouts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from coser_cli import config as numbers
from coser_cli.config import ClipTextConfig
from coser_cli.models.build import make_network
from coser_cli.weights.checkpoints.names import LINEAR, places, published_name
from coser_cli.weights.checkpoints.open import Origin
from tests import toy
from tests.weights.published import CALLBACK, save_lightning

TEXT = ClipTextConfig(vocab_size=49408, width=16, heads=2, layers=3)
TOY = replace(toy.TOY, text=TEXT)
COSER_PARTS = ("srresnet", "vae", "text", "cognitive_encoder", "unet", "controlnet")
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Variant:
    """A variant of the manifest, as `install_model` wants it."""

    name: str = "toy"
    folder: str = "toy"
    config: str = "toy"
    files: tuple[str, ...] = ("coser", "cfw")
    optional: tuple[str, ...] = ("cfw",)
    fallback: tuple[str, ...] = ("qformer", "sd21-base", "openclip-h14")
    base: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


def published(kind: str, parts: tuple[str, ...], seed: int) -> Tensors:
    """Random weights of some parts under the names and in the shapes of a published checkpoint,
    with what no network runs.
    """
    generator = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    for part in parts:
        for name, tensor in make_network(TOY, part).state_dict().items():
            drawn = torch.randn(tensor.shape, generator=generator)
            pointwise = part in ("vae", "cfw") or name.endswith(
                ("low_res_out.weight", "ence_out.weight")
            )
            if LINEAR.search(name) and pointwise:
                drawn = drawn[:, :, None, None]
            found[published_name(kind, f"{part}/{name}", TOY)] = drawn
    for place in places(kind, TOY):
        for old, ours in place.table.items():
            used = any(name.startswith(f"{place.prefix}{old}.") for name in found)
            if ours is None and not used and f"{place.prefix}{old}" not in found:
                found[f"{place.prefix}{old}.weight"] = torch.randn(3, generator=generator)
    return found


@dataclass
class Shelf:
    """Checkpoints at toy size on disk, by file id."""

    folder: Any
    tensors: dict[str, Tensors]

    def origin(
        self, file_id: str, tensors: Tensors | None = None, *, pickled: bool = False
    ) -> Origin:
        """The checkpoint of that id, or another under its id, as a file."""
        tensors = self.tensors[file_id] if tensors is None else tensors
        number = len(list(self.folder.iterdir()))
        if pickled:
            path = save_lightning(self.folder / f"{file_id}-{number}.ckpt", tensors)
            return Origin(path, "lightning-ckpt", safe_globals=(CALLBACK,))
        path = self.folder / f"{file_id}-{number}.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        return Origin(path, "safetensors")


def _without(tensors: Tensors, *beginnings: str) -> Tensors:
    return {name: t for name, t in tensors.items() if not name.startswith(beginnings)}


def _single_file(seed: int) -> Tensors:
    """Stable Diffusion 2 in one file, as latent diffusion writes it."""
    names = published("coser", ("unet", "vae", "text"), seed)
    kept = _without(names, "structcond", "global_adapter", "pre_sr_model")
    return {n: t for n, t in kept.items() if "_lna" not in n and ".visual." not in n}


def _open_clip(seed: int) -> Tensors:
    names = published("coser", ("text", "cognitive_encoder"), seed)
    prefix = "cond_stage_model.model."
    return {n.removeprefix(prefix): t for n, t in names.items() if n.startswith(prefix)}


@pytest.fixture(scope="session")
def all_tensors() -> dict[str, Tensors]:
    """Published tensors by file id; every file has values of its own."""
    coser = published("coser", COSER_PARTS, 1)
    coser |= {name: torch.zeros(7) for name in ("betas", "alphas_cumprod")}
    encoder = published("coser", ("srresnet", "text", "cognitive_encoder"), 3)
    kept = ("pre_sr_model", "cond_stage_model", "global_adapter")
    return {
        "coser": coser,
        "cfw": published("cfw", ("cfw",), 2),
        "qformer": {name: tensor for name, tensor in encoder.items() if name.startswith(kept)},
        "sd21-base": _single_file(4),
        "openclip-h14": _open_clip(5),
        "sd-turbo": _single_file(6),
    }


@pytest.fixture
def shelf(all_tensors, tmp_path, monkeypatch):
    """Published checkpoints; the toy's numbers are known under the config name `toy`."""
    monkeypatch.setitem(numbers.VARIANTS, "toy", TOY)
    folder = tmp_path / "originals"
    folder.mkdir()
    return Shelf(folder, all_tensors)


@pytest.fixture
def lock_of():
    """The lock file of an installed model."""
    return lambda folder: json.loads((folder / "coser.lock.json").read_text())
