"""Every network against its golden item: one function per kind of item."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.models.clip import token_lengths
from coser_cli.models.cognitive_encoder import cognitive_loss, select_text_tokens
from coser_cli.models.transformer import number_transformers, prepare_context
from coser_cli.models.unet import Controls
from coser_cli.parity import networks
from coser_cli.parity.load import MODULE_BAR, Case, GoldenSet, compare_outputs
from coser_cli.parity.networks import Networks

Tensors = dict[str, Tensor]


def srresnet(golden: GoldenSet, name: str) -> Tensors:
    """The enlarged picture."""
    return {"y": Networks(golden).srresnet(golden.inputs(name)["x"])}


def clip(golden: GoldenSet, name: str) -> Tensors:
    """Image tokens, text states, and crops of the tower's input (with the antialiasing that is not
    used, too: the stored numbers show which of both an installed torch computes).
    """
    models, inputs = Networks(golden), golden.inputs(name)
    tower, image = models.clip_vision, inputs["image_presr"]
    top, bottom, left, right = _crop(golden.sidecar(name)["note"])
    squashed = F.interpolate(image, (tower.config.image_size,) * 2, mode="bicubic", antialias=True)
    edge = golden.outputs(name)["clip_input_if_antialias_crop"].shape[-1]
    smooth = tower.normalise(squashed)[:, :, top : top + edge, left : left + edge]
    return {
        "vision_tokens": tower(image),
        "text_embedding": models.text.encode_tokens(inputs["tokens"]),
        "clip_input_crop": tower.prepare(image)[:, :, top:bottom, left:right],
        "clip_input_if_antialias_crop": smooth,
    }


def _crop(note: str) -> tuple[int, int, int, int]:
    """Rows and columns of `clip_input_crop`, which only the sidecar's note gives."""
    match = re.search(r"clip_input\[:,:,(\d+):(\d+),(\d+):(\d+)\]", note)
    if match is None:
        raise ValueError(f"the note names no crop of the CLIP input: {note}")
    top, bottom, left, right = (int(number) for number in match.groups())
    return top, bottom, left, right


def qformer(golden: GoldenSet, name: str) -> Tensors:
    """Embedding, selected caption tokens and loss."""
    inputs = golden.inputs(name)
    embedding = Networks(golden).qformer(inputs["x"])
    lengths = token_lengths(inputs["tokens"])
    return {
        "out": embedding,
        "selected_text": select_text_tokens(inputs["text"], lengths, embedding.shape[1]),
        "loss": cognitive_loss(embedding, inputs["text"], lengths).reshape(1),
    }


def vae(golden: GoldenSet, name: str) -> Tensors:
    """Moments, mode and both decodings; the goldens' pixels are in [-1, 1]."""
    model, inputs = Networks(golden).autoencoder, golden.inputs(name)
    pixels, factor = (inputs["image"] + 1) / 2, model.config.scaling_factor
    scaled = model.encode(pixels)
    return {
        "moments": model.moments(pixels),
        "mode": scaled / factor,
        "scaled_mode": scaled,
        "decode_z": model.decode(inputs["z"] * factor) * 2 - 1,
        "decode_first_stage_z": model.decode(inputs["z"]) * 2 - 1,
    }


def cfw(golden: GoldenSet, name: str) -> Tensors:
    """Own encoder's moments and features, decodings at every stored fidelity."""
    model, inputs = Networks(golden).cfw, golden.inputs(name)
    pixels = (inputs["image"] + 1) / 2
    latents = inputs["z"] * model.config.autoencoder.scaling_factor
    features = model.features(pixels)
    outputs = {"moments": model.moments(pixels)}
    for index, level in enumerate(sorted(model.config.fuse_levels)):
        outputs[f"enc_fea_{index}"] = features[level]
    for output in golden.outputs(name):
        if output.startswith("decode_w"):
            fidelity = float(output.removeprefix("decode_w"))
            outputs[output] = model.decode(latents, features, fidelity) * 2 - 1
    return outputs


def _sizes(inputs: Tensors) -> list[str]:
    """The labels of the input sizes, as `16x24` or `b2`."""
    return [key.removeprefix("x_") for key in inputs if key.startswith("x_")]


def _contexts(inputs: Tensors, size: str) -> list[Tensor]:
    """With prompt, and without."""
    prompt = inputs.get(f"prompt_emb_{size}", inputs["prompt_emb"])
    embedding = inputs.get(f"lr_prompt_emb_{size}", inputs["lr_prompt_emb"])
    return [torch.cat((prompt, embedding), dim=1), embedding]


def controlnet(golden: GoldenSet, name: str) -> Tensors:
    """All maps: both hints in one call with the prompt, the low-resolution one without."""
    model, inputs = Networks(golden).controlnet, golden.inputs(name)
    outputs: Tensors = {}
    for size in _sizes(inputs):
        full, bare = (model.prepare_context([c]) for c in _contexts(inputs, size))
        x, time, low_res = inputs[f"x_{size}"], inputs[f"t_{size}"], inputs[f"lr_{size}"]
        hints = torch.cat((low_res, inputs[f"ref_{size}"]))
        for index, maps in enumerate(model(x, time, hints, full)):
            both = maps.split(len(x))
            outputs[f"struct_{size}_{index:02d}"], outputs[f"ref_struct_{size}_{index:02d}"] = both
        for index, maps in enumerate(model(x, time, low_res, bare)):
            outputs[f"struct_noprompt_{size}_{index:02d}"] = maps
    return outputs


def unet(golden: GoldenSet, name: str) -> Tensors:
    """With and without controls; both contexts as guidance branches of one call."""
    model, inputs = Networks(golden).unet, golden.inputs(name)
    outputs: Tensors = {}
    maps = golden.outputs("controlnet")
    for size in _sizes(inputs):
        context = model.prepare_context(_contexts(inputs, size))
        controls = Controls(_maps(maps, f"struct_{size}"), _maps(maps, f"ref_struct_{size}"))
        for mode, used in (("full", controls), ("gen", None)):
            x, time = inputs[f"x_{size}"], inputs[f"t_{size}"]
            prompt, bare = model(x, time, context, used).chunk(2)
            outputs |= {f"{mode}_prompt_{size}": prompt, f"{mode}_noprompt_{size}": bare}
            outputs[f"{mode}_{size}"] = prompt
    return outputs


def _maps(outputs: Tensors, prefix: str) -> tuple[Tensor, ...]:
    names = sorted(key for key in outputs if re.fullmatch(rf"{prefix}_\d+", key))
    return tuple(outputs[key] for key in names)


def aia_block(golden: GoldenSet, name: str) -> Tensors:
    """One block on tokens."""
    block, inputs = networks.aia_block(golden, name), golden.inputs(name)
    x, branches = inputs["x"], (block.attn2.key_value(inputs["context"]),)
    controls = {"low_res": inputs["lr"], "reference": inputs["ref"]}
    return {
        "full": block(x, branches, len(x), controls),
        "gen": block(x, branches, len(x)),
    }


def aia_transformer(golden: GoldenSet, name: str) -> Tensors:
    """One spatial transformer on maps."""
    transformer, inputs = networks.aia_transformer(golden, name), golden.inputs(name)
    number_transformers([transformer])
    x, controls = inputs["x"], {"low_res": inputs["lr"], "reference": inputs["ref"]}
    both = torch.cat((inputs["context"], inputs["lr_prompt"]), dim=1)
    full, bare = (prepare_context([transformer], [c]) for c in (both, inputs["lr_prompt"]))
    return {
        "full": transformer(x, full, len(x), controls),
        "full_no_context": transformer(x, bare, len(x), controls),
        "gen": transformer(x, full, len(x)),
    }


def hard_attention(golden: GoldenSet, name: str) -> Tensors:
    """The one-hot attention alone."""
    attention, inputs = networks.hard_attention(golden, name), golden.inputs(name)
    return {"y": attention(inputs["x"], inputs["context"])}


MODULES: dict[str, Callable[[GoldenSet, str], Tensors]] = {
    "srresnet": srresnet,
    "clip": clip,
    "qformer": qformer,
    "vae": vae,
    "cfw": cfw,
    "controlnet": controlnet,
    "unet": unet,
    "aia_block": aia_block,
    "aia_spatial_transformer": aia_transformer,
    "aia_spatial_transformer_dubch": aia_transformer,
    "hard_attention": hard_attention,
}


@torch.no_grad()
def module_cases(golden: GoldenSet, name: str) -> Iterator[Case]:
    """Every stored output of the item that the network's function computes, compared."""
    yield from compare_outputs(golden, name, MODULES[name](golden, name), MODULE_BAR)
