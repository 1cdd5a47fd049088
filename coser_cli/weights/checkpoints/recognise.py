"""What a checkpoint is, by the names and a few shapes in it.

Used before conversion, so that the wrong file is called by its name, not by a list of its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

Names = Mapping[str, Tensor]


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint. `name` is empty for kinds that are known but of no use here."""

    description: str
    name: str = ""


def _begins(*beginnings: str) -> Callable[[Names], bool]:
    """Some name begins with each of these."""
    return lambda names: all(any(n.startswith(b) for n in names) for b in beginnings)


def _holds(*pieces: str) -> Callable[[Names], bool]:
    """Some name contains one of these."""
    return lambda names: any(piece in name for name in names for piece in pieces)


_UNET = "model.diffusion_model."
_KINDS: tuple[tuple[Callable[[Names], bool], Kind], ...] = (
    # first what nothing else has: surplus names beside it must not make it something else
    (
        lambda names: _begins(_UNET)(names) and _holds("_lna.")(names),
        Kind("a CoSeR checkpoint", "coser"),
    ),
    (_begins("encoder.", "decoder.fusion_layer_"), Kind("StableSR's CFW decoder", "cfw")),
    (_holds(".spade.", "structcond_stage_model.fea_tr."), Kind("a StableSR checkpoint")),
    (_begins("control_model."), Kind("a ControlNet of Stable Diffusion")),
    (_holds(".lora_", "lora_unet", ".lora."), Kind("a LoRA")),
    (_begins("conditioner.embedders.1."), Kind("Stable Diffusion XL")),
    (_holds("joint_blocks."), Kind("Stable Diffusion 3")),
    (_holds("double_blocks."), Kind("FLUX or a relative of it")),
    (_begins(_UNET, "cond_stage_model.transformer."), Kind("Stable Diffusion 1.x")),
    (_begins(_UNET), Kind("Stable Diffusion 2", "sd2")),
    (_begins("global_adapter."), Kind("a checkpoint of CoSeR's cognitive encoder", "qformer")),
    (_begins("Qformer.", "query_tokens"), Kind("CoSeR's Q-Former", "qformer")),
    (_begins("visual.", "transformer.resblocks."), Kind("a CLIP of open_clip", "openclip")),
    (_begins("encoder.", "decoder."), Kind("an autoencoder alone")),
    (_begins("vision_model."), Kind("a CLIP in the layout of transformers")),
    (_begins("text_model."), Kind("a text tower in the layout of transformers")),
    (_begins("down_blocks."), Kind("one part of a model in diffusers' format")),
)
DIFFUSERS = Kind("a model in diffusers' format", "diffusers")
UNKNOWN = Kind("nothing that is known here")

_FIRST_CONVOLUTION = (f"{_UNET}input_blocks.0.0.weight", "unet.conv_in.weight")
_TEXT_WIDTHS = {768: "Stable Diffusion 1.x", 2048: "Stable Diffusion XL"}


def recognise(tensors: Names, folder: bool = False) -> Kind:
    """The kind of a checkpoint by its published names; `folder`: of diffusers' format.

    Stable Diffusion's relatives of another text width, or with more than latents going in, are
    distinguished by their shapes.
    """
    kind = DIFFUSERS
    if not folder:
        kind = next((kind for fits, kind in _KINDS if fits(tensors)), UNKNOWN)
    if kind.name not in ("sd2", "diffusers"):
        return kind
    for name in _FIRST_CONVOLUTION:
        if name in tensors and tensors[name].dim() == 4 and tensors[name].shape[1] > 4:
            channels = tensors[name].shape[1]
            return Kind(f"Stable Diffusion with {channels} input channels (inpainting or the like)")
    width = next((tensors[n].shape[-1] for n in tensors if n.endswith("attn2.to_k.weight")), None)
    return Kind(_TEXT_WIDTHS[width]) if width in _TEXT_WIDTHS else kind
