"""The checkpoints that a model is put together from: opened, recognised, and who gives what.

Which file a network is taken from is decided by what the files hold and by their order in the
variant. A network is taken from one file as a whole; the U-Net is two, Stable Diffusion's layers
and All-in-Attention, so that the former can come from another base.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from coser_cli.config import VARIANTS, ModelConfig
from coser_cli.errors import WeightsError, shown
from coser_cli.weights.checkpoints.names import Names, as_linear, first_few, translate
from coser_cli.weights.checkpoints.open import LazyTensors, Origin, open_checkpoint
from coser_cli.weights.checkpoints.recognise import Kind, recognise
from coser_cli.weights.manifest import Variant

Key = str
"""`part/name`, as our networks call it."""


GROUPS = {
    "unet": "the U-Net of Stable Diffusion",
    "aia": "All-in-Attention",
    "controlnet": "the ControlNet",
    "vae": "the autoencoder",
    "text": "CLIP's text tower",
    "clip": "CLIP's image tower",
    "qformer": "the Q-Former",
    "srresnet": "the SRResNet",
    "cfw": "the CFW decoder",
}
"""What is taken from one file as a whole, in words."""
OF_BASE = ("unet", "vae")
"""What a variant's `base` replaces."""
_BASES = {"sd2", "diffusers"}
KINDS = {
    "coser": {"coser"},
    "cfw": {"cfw"},
    "qformer": {"qformer"},
    "sd21-base": _BASES,
    "sd-turbo": _BASES,
    "openclip-h14": {"openclip"},
}
"""What a file of that id (or of an id that goes on with a dash) must be."""
HOLDS = {
    "qformer": {"qformer", "srresnet"},
    "sd21-base": {"unet", "vae", "text"},
    "openclip-h14": {"clip", "text"},
}
"""What a file of that id certainly holds."""


def role_of(file_id: str) -> str:
    """The key of `KINDS` that a file id stands under; the id itself where there is none."""
    return next((r for r in KINDS if file_id == r or file_id.startswith(f"{r}-")), file_id)


def group_of(key: Key) -> str:
    """The key of `GROUPS` that one of our tensors belongs to."""
    part, _, name = key.partition("/")
    if part == "cognitive_encoder":
        return name.partition(".")[0]
    added = part == "unet" and re.search(r"(^|\.)(low_res|reference)_", name)
    return "aia" if added else part


@dataclass(frozen=True)
class Surplus:
    """What a checkpoint holds that no network needs: names, bytes, names by their beginnings."""

    names: int
    bytes: int
    prefixes: Mapping[str, int]


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, opened and recognised; `names` leads from our keys to its names, `unknown`
    are the names that no table knows.
    """

    origin: Origin
    kind: str
    tensors: LazyTensors
    names: Names
    unknown: frozenset[str] = frozenset()

    @cached_property
    def groups(self) -> set[str]:
        return {group_of(key) for key in self.names}

    @cached_property
    def surplus(self) -> Surplus | None:
        """What is left out; None if every name is known."""
        if not self.unknown:
            return None
        sizes = [self.tensors[name].nbytes for name in self.unknown if name in self.tensors]
        beginnings = (".".join(name.split(".")[:-1][:2]) or name for name in self.unknown)
        return Surplus(len(self.unknown), sum(sizes), dict(sorted(Counter(beginnings).items())))

    def with_unknown_leaves(self, needed: Mapping[str, Collection[str]]) -> Checkpoint:
        """The same, counting as unknown what a table knows and the network (names by part) lacks:
        a leaf that no such layer has.
        """
        unknown_leaves: set[str] = set()
        for key, published in self.names.items():
            part, _, name = key.partition("/")
            if part in needed and name not in needed[part]:
                unknown_leaves.update(published)
        return replace(self, unknown=self.unknown | unknown_leaves) if unknown_leaves else self

    def refuse_unknown(self) -> None:
        """Raise WeightsError if there are names that are not known."""
        if self.unknown:
            names = first_few(self.unknown)
            raise WeightsError(
                f"{shown(self.origin.path)}: unknown names in the published weights: {names}",
                "without --strict they are left out",
            )


def require_kind(kind: Kind, file_id: str, path: Path, *, is_base: bool) -> None:
    """Raise WeightsError if a checkpoint of this kind cannot be the file of that id."""
    allowed = KINDS.get(role_of(file_id), _BASES if is_base else set())
    if not kind.name or (allowed and kind.name not in allowed):
        raise WeightsError(
            f"{shown(path)} is {kind.description}; it cannot serve as {file_id!r}",
            f"give the file that the manifest calls {file_id!r}",
        )


def open_sources(
    variant: Variant, origins: Mapping[str, Origin], *, strict: bool = False
) -> dict[str, Checkpoint]:
    """All checkpoints by file id. Raises WeightsError for a file that is not what its id says, and
    where `strict` for names that no table knows.
    """
    config, sources = config_of(variant), {}
    for file_id, origin in origins.items():
        tensors = open_checkpoint(origin)
        kind = recognise(tensors, folder=origin.format == "diffusers")
        require_kind(kind, file_id, origin.path, is_base=file_id == variant.base)
        names, unknown = translate(kind.name, tensors, config)
        unknown |= set(tensors.others)
        sources[file_id] = Checkpoint(origin, kind.name, tensors, names, unknown)
        if strict:
            sources[file_id].refuse_unknown()
    return sources


def config_of(variant: Variant) -> ModelConfig:
    """The configuration of the model that the variant describes."""
    if variant.config not in VARIANTS:
        raise WeightsError(f"the model {variant.name!r} has an unknown config {variant.config!r}")
    config = VARIANTS[variant.config]
    defaults = replace(config.defaults, **variant.defaults)
    # presets change what the base is used with; a variant with defaults of its own has none
    presets = {} if variant.defaults else config.presets
    return replace(config, name=variant.name, defaults=defaults, presets=presets)


def required(variant: Variant) -> list[str]:
    """Groups that a model cannot do without."""
    cfw = any(role_of(i) == "cfw" and i not in variant.optional for i in variant.files)
    return [group for group in GROUPS if group != "cfw" or cfw]


def chosen(variant: Variant, sources: Mapping[str, Checkpoint], group: str) -> Checkpoint | None:
    """The first source in the variant's order that holds anything of the group."""
    order = dict.fromkeys((*variant.files, *variant.fallback, *sources))
    ids = [file_id for file_id in order if file_id != variant.base]
    if variant.base is not None and group in OF_BASE:
        ids = [variant.base]
    return next((sources[i] for i in ids if i in sources and group in sources[i].groups), None)


def missing_networks(sources: Mapping[str, Checkpoint], groups: Iterable[str]) -> WeightsError:
    """The error for networks that no source holds."""
    files = ", ".join(shown(source.origin.path) for source in sources.values())
    names = ", ".join(GROUPS[group] for group in groups)
    return WeightsError(
        f"the model cannot be put together: {names} is missing in {files}",
        "add the file that holds it",
    )


def part_tensors(part: str, picks: Mapping[str, Checkpoint]) -> LazyTensors:
    """Tensors of one part under our names, each taken from its source when asked for; names that
    the sources do not have are left out.
    """
    readers = {}
    for name, source in picks.items():
        published = source.names.get(f"{part}/{name}")
        if published is not None:
            readers[name] = partial(_read, name, source.tensors, published)
    return LazyTensors(readers)


def _read(name: str, tensors: Mapping[str, Tensor], published: Iterable[str]) -> Tensor:
    pieces = [tensors[old] for old in published]
    return as_linear(name, pieces[0] if len(pieces) == 1 else torch.cat(pieces))
