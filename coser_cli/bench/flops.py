"""Floating point operations: counted by torch while networks run, or computed from their sizes.

A multiplication and an addition are two. Matrix products, convolutions and attentions count; norms,
activations, interpolations and sums do not: they are bound by memory, not by arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from coser_cli.config import ClipTextConfig, ModelConfig
from coser_cli.models.build import make_network, skeleton


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Of softmax attention, from shapes: q·kᵀ and the sum over the values."""
    return int(sdpa_flop_count(query, key, value))


_UNKNOWN_TO_TORCH = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""Operators that torch's counter passes by (2.14)."""


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count what runs within; `get_total_flops()` may be asked at any time.

    Torch's one-kernel path for whole attention layers is closed meanwhile, since the counter does
    not see into it.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False, custom_mapping=_UNKNOWN_TO_TORCH)
    try:
        with counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def flops_of(run: Callable[[], object]) -> int:
    """Operations of one call."""
    with counting() as counter:
        run()
    return int(counter.get_total_flops())


def network_flops(config: ModelConfig, height: int, width: int) -> dict[str, int]:
    """Operations of one evaluation of every network, by name, for latents `(1, 4, height, width)`;
    nothing is computed.

    The U-Net with one guidance branch, as it imagines (`unet`) and with All-in-Attention to one
    reference (`unet_aia`); the ControlNet on one hint; keys and values of all their
    cross-attentions (`contexts`, once per picture); the autoencoder and the CFW decoder, without
    the encoder that feeds it, on pictures of that size; the SRResNet on one a quarter as wide.
    """
    pixels = _meta(1, 3, height * config.downscale, width * config.downscale)
    latents = _meta(1, config.autoencoder.latent_channels, height, width)
    small = _meta(1, 3, pixels.shape[2] // 4, pixels.shape[3] // 4)
    make = partial(_skeleton, config)
    vae, encoder = make("vae"), make("cognitive_encoder")
    patches = (config.clip_vision.image_size // config.clip_vision.patch_size) ** 2
    tokens = _meta(1, 1 + patches, config.clip_vision.output_dim)
    with torch.inference_mode():
        counts = {
            "srresnet": flops_of(partial(make("srresnet"), small)),
            "clip_vision": flops_of(lambda: encoder.clip(pixels)),
            "qformer": flops_of(lambda: encoder.qformer(tokens)),
        }
        if isinstance(config.text, ClipTextConfig):
            words = torch.zeros(1, config.text.context_length, dtype=torch.long, device="meta")
            counts["text"] = flops_of(partial(make("text").encode_tokens, words))
        counts |= _of_denoisers(config, make("unet"), make("controlnet"), latents)
        counts["encode"] = flops_of(lambda: vae.encode(pixels))
        counts["decode"] = flops_of(lambda: vae.decode(latents))
        if config.cfw is not None:
            cfw, own = make("cfw"), config.cfw.own_encoder
            features = cfw.features(pixels) if own else vae.encode_with_features(pixels)[1]
            counts["cfw"] = flops_of(lambda: cfw.decode(latents, features, 1.0))
    return counts


def _skeleton(config: ModelConfig, part: str) -> Any:
    return skeleton(partial(make_network, config, part)).eval().requires_grad_(False)


def _meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _of_denoisers(
    config: ModelConfig, unet: Any, controlnet: Any, latents: Tensor
) -> dict[str, int]:
    from coser_cli.models.unet import Controls

    length = config.text.context_length + config.qformer.num_queries
    context = [_meta(1, length, config.unet.context_dim)]
    for_unet, for_controls = unet.prepare_context(context), controlnet.prepare_context(context)
    time = torch.zeros(1, device="meta")
    maps = controlnet(latents, time, latents, for_controls)
    return {
        "unet": flops_of(lambda: unet(latents, time, for_unet)),
        "unet_aia": flops_of(lambda: unet(latents, time, for_unet, Controls(maps, maps))),
        "controlnet": flops_of(lambda: controlnet(latents, time, latents, for_controls)),
        "contexts": flops_of(
            lambda: [each.prepare_context(context) for each in (unet, controlnet)]
        ),
    }
