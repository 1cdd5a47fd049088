"""Published names → ours, as pure functions on names; the tensors stay where they are.

Every published name is accounted for: used, known and not used, or not known. What is missing or of
another shape shows when the names are held against the networks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from coser_cli.config import ClipTextConfig, ModelConfig
from coser_cli.errors import WeightsError
from coser_cli.weights.checkpoints.tables import (
    Table,
    cfw_table,
    clip_tables,
    controlnet_table,
    diffusers_text_table,
    diffusers_unet_table,
    diffusers_vae_table,
    qformer_table,
    srresnet_table,
    unet_table,
    vae_table,
)

Tensors = dict[str, Tensor]
Names = dict[str, tuple[str, ...]]
"""`part/our name` → the published name it comes from; several are joined along the first axis."""

# ours that are linear layers on tokens where the published ones are 1×1 convolutions
LINEAR = re.compile(r"(to_q|to_k|to_v|to_out\.0|low_res_out|reference_out)\.weight$")

PREFIXES = {
    "unet": "model.diffusion_model.",
    "controlnet": "structcond_stage_model.",
    "vae": "first_stage_model.",
    "clip": "cond_stage_model.model.",
    "qformer": "global_adapter.",
    "srresnet": "pre_sr_model.",
}
SCHEDULE_BUFFERS = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
    "lvlb_weights",
    "scale_factor",
    "denoiser.sigmas",
}
NOT_USED = ("model_ema.", "loss.")
"""Beginnings of what training leaves in a checkpoint: averaged copies, loss networks."""

# Other homes of the same networks: the text tower as Stability's newer code has it, open_clip and
# the Q-Former by themselves.
_PREFIXES = {
    "sd2": {"conditioner.embedders.0.model.": PREFIXES["clip"]},
    "openclip": {"": PREFIXES["clip"]},
    "qformer": {name: PREFIXES["qformer"] + name for name in ("Qformer.", "query_tokens")},
}
# transformers has three projections where open_clip has one
_FIRST_OF_THREE = re.compile(r"(text_model\.encoder\.layers\.(\d+)\.self_attn)\.q_proj\.(\w+)")


@dataclass(frozen=True)
class Place:
    """Where a table applies: published names that begin with `prefix` become names of `part`, which
    begin with `inner`.
    """

    part: str
    prefix: str
    table: Table
    inner: str = ""


def places(kind: str, config: ModelConfig) -> list[Place]:
    """The tables for a checkpoint of that kind (as `recognise` calls them).

    Raises ValueError for a model whose text side is not CLIP.
    """
    if not isinstance(config.text, ClipTextConfig):
        raise ValueError(f"{config.name}: the published checkpoints have CLIP's text tower")
    if kind == "cfw" and config.cfw is not None:
        return [Place("cfw", "", cfw_table(config.cfw))]
    if kind == "diffusers":
        return [
            Place("unet", "unet.", diffusers_unet_table(config.unet)),
            Place("vae", "vae.", diffusers_vae_table(config.autoencoder)),
            Place("text", "text_encoder.", diffusers_text_table(config.text)),
        ]
    image, words = clip_tables(config.clip_vision, config.text)
    return [
        Place("unet", PREFIXES["unet"], unet_table(config.unet)),
        Place("controlnet", PREFIXES["controlnet"], controlnet_table(config.controlnet)),
        Place("vae", PREFIXES["vae"], vae_table(config.autoencoder)),
        Place("text", PREFIXES["clip"], words),
        Place("cognitive_encoder", PREFIXES["clip"], image, "clip."),
        Place("cognitive_encoder", PREFIXES["qformer"], qformer_table(config.qformer), "qformer."),
        Place("srresnet", PREFIXES["srresnet"], srresnet_table(config.srresnet)),
    ]


def translate(
    kind: str, published: Iterable[str], config: ModelConfig
) -> tuple[Names, frozenset[str]]:
    """Where every name of a checkpoint of that kind goes, and the names that no table knows."""
    names_in_coser = {_name_in_coser(kind, name): name for name in published}
    remaining = frozenset(name for name in names_in_coser if not _is_left_out(name))
    unknown = set(remaining)
    ours: Names = {}
    for place in places(kind, config):
        plain = {
            name.removeprefix(place.prefix) for name in remaining if name.startswith(place.prefix)
        }
        known, strange = _place_names(plain, place.table)
        unknown -= {place.prefix + name for name in plain - strange}
        for name, olds in known.items():
            published_names = tuple(names_in_coser[place.prefix + old] for old in olds)
            ours[f"{place.part}/{place.inner}{name}"] = published_names
    return ours, frozenset(names_in_coser[name] for name in unknown)


def _place_names(plain: set[str], table: Table) -> tuple[Names, set[str]]:
    """Our names with what they come from, and the names that the table does not know."""
    joined_names: Names = {}
    for name in plain:
        match = _FIRST_OF_THREE.fullmatch(name)
        if match is None or name.rpartition(".")[0] in table:
            continue
        attention, layer, leaf = match.groups()
        olds = tuple(f"{attention}.{kind}_proj.{leaf}" for kind in "qkv")
        if plain.issuperset(olds):
            joined_names[f"tower.transformer.resblocks.{layer}.attn.in_proj_{leaf}"] = olds
    joined = {old for olds in joined_names.values() for old in olds}
    renamed, strange = rename(plain - joined, table)
    return joined_names | {ours: (old,) for ours, old in renamed.items()}, strange


def _name_in_coser(kind: str, name: str) -> str:
    """The name that the CoSeR checkpoint has for it."""
    for beginning, prefix in _PREFIXES.get(kind, {}).items():
        if name.startswith(beginning):
            return prefix + name.removeprefix(beginning)
    return name


def _is_left_out(name: str) -> bool:
    return name in SCHEDULE_BUFFERS or name.startswith(NOT_USED)


def published_name(kind: str, key: str, config: ModelConfig) -> str:
    """What a checkpoint of that kind calls `part/our name`; our own name where it has none."""
    part, _, name = key.partition("/")
    for place in places(kind, config):
        if place.part != part or not name.startswith(place.inner):
            continue
        module, _, leaf = name.removeprefix(place.inner).rpartition(".")
        for old, ours in place.table.items():
            if ours in (module, name.removeprefix(place.inner)):
                whole = place.prefix + (f"{old}.{leaf}" if ours == module else old)
                return whole.removeprefix(PREFIXES["clip"]) if kind == "openclip" else whole
    return name


def rename(names: Iterable[str], table: Table) -> tuple[dict[str, str], set[str]]:
    """Our names with the published ones, by exact module (or whole) name; and the unknown names."""
    renamed: dict[str, str] = {}
    unknown: set[str] = set()
    for name in names:
        module, _, leaf = name.rpartition(".")
        if name in table:
            target = table[name]
        elif module in table:
            target = f"{table[module]}.{leaf}" if table[module] is not None else None
        else:
            unknown.add(name)
            continue
        if target is not None:
            renamed[target] = name
    return renamed, unknown


def apply_table(published: Mapping[str, Tensor], table: Table, what: str) -> Tensors:
    """Tensors of one network under our names; 1×1 convolutions on tokens become linear layers.

    Raises WeightsError with the names that the table does not know.
    """
    renamed, unknown = rename(published, table)
    if unknown:
        raise WeightsError(f"{what}: unknown names in the published weights: {first_few(unknown)}")
    return {ours: as_linear(ours, published[name]) for ours, name in renamed.items()}


def as_linear(name: str, tensor: Tensor) -> Tensor:
    """The tensor as the network called `name` keeps it: 1×1 convolutions on tokens as matrices."""
    pointwise = tensor.dim() == 4 and tuple(tensor.shape[2:]) == (1, 1)
    return tensor.flatten(1) if pointwise and LINEAR.search(name) else tensor


def first_few(names: Iterable[str], most: int = 8) -> str:
    """The first few of many names, and how many more there are."""
    listed = sorted(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest
