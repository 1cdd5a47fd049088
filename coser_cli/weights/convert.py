"""Published checkpoint names → ours, as pure functions on dictionaries of tensors.

Every name is accounted for by a table: used, known and not used, or in the error that lists it. A
name that is missing shows up when loading strictly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from coser_cli.errors import WeightsError
from coser_cli.models.config import CFWConfig, ClipTextConfig, ModelConfig, QFormerConfig
from coser_cli.weights.tables import (
    Table,
    cfw_table,
    clip_tables,
    controlnet_table,
    qformer_table,
    srresnet_table,
    unet_table,
    vae_table,
)

Tensors = dict[str, Tensor]

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
}


def apply_table(published: Mapping[str, Tensor], table: Table, what: str) -> Tensors:
    """Rename by exact module (or whole) name; 1×1 convolutions on tokens become linear layers.

    Raises WeightsError with the names that the table does not know.
    """
    renamed: Tensors = {}
    unknown: list[str] = []
    for name, tensor in published.items():
        module, _, leaf = name.rpartition(".")
        if name in table:
            target = table[name]
        elif module in table:
            target = f"{table[module]}.{leaf}" if table[module] is not None else None
        else:
            unknown.append(name)
            continue
        if target is not None:
            renamed[target] = _as_linear(target, tensor)
    if unknown:
        raise WeightsError(f"{what}: unknown names in the published weights: {_some(unknown)}")
    return renamed


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    pointwise = tensor.dim() == 4 and tuple(tensor.shape[2:]) == (1, 1)
    return tensor.flatten(1) if pointwise and LINEAR.search(name) else tensor


def _some(names: list[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + rest


def split_checkpoint(published: Mapping[str, Tensor]) -> dict[str, Tensors]:
    """The published whole model by part (keys of `PREFIXES`), prefixes taken off.

    Schedule buffers are dropped; raises WeightsError with the names that belong nowhere.
    """
    parts: dict[str, Tensors] = {part: {} for part in PREFIXES}
    unknown: list[str] = []
    for name, tensor in published.items():
        part = next((p for p, prefix in PREFIXES.items() if name.startswith(prefix)), None)
        if part is not None:
            parts[part][name.removeprefix(PREFIXES[part])] = tensor
        elif name not in SCHEDULE_BUFFERS:
            unknown.append(name)
    if unknown:
        raise WeightsError(f"unknown names in the published weights: {_some(unknown)}")
    return parts


def convert_cognitive_encoder(
    clip: Mapping[str, Tensor],
    qformer: Mapping[str, Tensor],
    image_table: Table,
    config: QFormerConfig,
) -> Tensors:
    """Image tower and Q-Former as the `CognitiveEncoder` names them."""
    image = apply_table(clip, image_table, "CLIP")
    queries = apply_table(qformer, qformer_table(config), "Q-Former")
    return {f"clip.{k}": v for k, v in image.items()} | {
        f"qformer.{k}": v for k, v in queries.items()
    }


def convert_checkpoint(published: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensors]:
    """The published CoSeR checkpoint as one state dict per component folder (all but `cfw`).

    Raises WeightsError naming every key that is not known, ValueError for a model whose text side
    is not CLIP.
    """
    if not isinstance(config.text, ClipTextConfig):
        raise ValueError(f"{config.name}: the published checkpoint has CLIP's text tower")
    parts = split_checkpoint(published)
    image, words = clip_tables(config.clip_vision, config.text)
    return {
        "srresnet": apply_table(parts["srresnet"], srresnet_table(config.srresnet), "SRResNet"),
        "vae": apply_table(parts["vae"], vae_table(config.autoencoder), "VAE"),
        "text": apply_table(parts["clip"], words, "CLIP"),
        "cognitive_encoder": convert_cognitive_encoder(
            parts["clip"], parts["qformer"], image, config.qformer
        ),
        "unet": apply_table(parts["unet"], unet_table(config.unet), "U-Net"),
        "controlnet": apply_table(
            parts["controlnet"], controlnet_table(config.controlnet), "ControlNet"
        ),
    }


def convert_cfw(published: Mapping[str, Tensor], config: CFWConfig) -> Tensors:
    """The published CFW checkpoint; a training loss saved with it (`loss.*`) is dropped."""
    kept = {name: tensor for name, tensor in published.items() if not name.startswith("loss.")}
    return apply_table(kept, cfw_table(config), "CFW")
