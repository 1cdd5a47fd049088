"""Where each published module goes, one table per network.

A table maps the exact published module name to ours, or to None for what is known and not used
(the text half of the Q-Former, layers whose output nobody reads).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from coser_cli.config import (
    AutoencoderConfig,
    CFWConfig,
    ClipTextConfig,
    ClipVisionConfig,
    ControlNetConfig,
    QFormerConfig,
    SRResNetConfig,
    UNetConfig,
)

Table = dict[str, str | None]

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")}
VAE_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
AIA_ATTENTIONS = {"attn3_lr_lna": "low_res_attn", "attn4_ref_lna": "reference_attn"}
AIA_BLOCK = {
    "norm4_lna": "low_res_norm",
    "norm5_lna": None,
    "zero_conv_lna": "low_res_out",
    "zero_conv_r_lna": "reference_out",
}
AIA_TRANSFORMER = {
    "norm_clr_lna": "low_res_norm",
    "proj_in_clr_lna": "low_res_proj",
    "norm_cref_lna": "reference_norm",
    "dubconv_lna": "low_res_widen",
    "dubconv_r_lna": "reference_widen",
}
QFORMER_ATTENTION = {
    "self.query": "to_q",
    "self.key": "to_k",
    "self.value": "to_v",
    "output.dense": "to_out.0",
}


def _nest(old: str, new: str, inner: Mapping[str, str | None]) -> Table:
    return {f"{old}.{k}": None if v is None else f"{new}.{v}" for k, v in inner.items()}


def _same(names: tuple[str, ...]) -> Table:
    return {name: name for name in names}


def _vae_resnet(old: str, new: str, shortcut: str = "nin_shortcut") -> Table:
    return _nest(old, new, VAE_RESNET | {shortcut: "conv_shortcut"})


def _vae_stack(side: str) -> Table:
    table: Table = {
        f"{side}.conv_in": f"{side}.conv_in",
        f"{side}.norm_out": f"{side}.conv_norm_out",
        f"{side}.conv_out": f"{side}.conv_out",
    }
    table |= _vae_resnet(f"{side}.mid.block_1", f"{side}.mid_block.resnets.0")
    table |= _vae_resnet(f"{side}.mid.block_2", f"{side}.mid_block.resnets.1")
    table |= _nest(f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0", VAE_ATTENTION)
    return table


def vae_table(config: AutoencoderConfig) -> Table:
    """Latent diffusion's AutoencoderKL → diffusers' names; decoder levels count the other way."""
    table = _same(("quant_conv", "post_quant_conv")) | _vae_stack("encoder")
    table |= _vae_stack("decoder")
    levels = len(config.block_out_channels)
    for level in range(levels):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        table[f"encoder.down.{level}.downsample.conv"] = f"{down}.downsamplers.0.conv"
        table[f"decoder.up.{level}.upsample.conv"] = f"{up}.upsamplers.0.conv"
        for layer in range(config.layers_per_block + 1):
            table |= _vae_resnet(f"encoder.down.{level}.block.{layer}", f"{down}.resnets.{layer}")
            table |= _vae_resnet(f"decoder.up.{level}.block.{layer}", f"{up}.resnets.{layer}")
    return table


def cfw_table(config: CFWConfig) -> Table:
    """StableSR's AutoencoderKLResi: `vae_table` and the fusion layers."""
    table = vae_table(config.autoencoder)
    for level in config.fuse_levels:
        old, new = f"decoder.fusion_layer_{level}", f"fusions.{level}"
        table |= _vae_resnet(f"{old}.encode_enc_1", f"{new}.merge", "conv_out")
        table |= _vae_resnet(f"{old}.encode_enc_3", f"{new}.finish", "conv_out")
        for block in range(config.num_fuse_blocks):
            for dense in (f"{block}.rdb{n}.conv{m}" for n in (1, 2, 3) for m in range(1, 6)):
                table[f"{old}.encode_enc_2.{dense}"] = f"{new}.blocks.{dense}"
    return table


def attention_table() -> Table:
    """One attention; its names are ours."""
    return _same(ATTENTION)


def _block_table() -> Table:
    table = _same(("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2"))
    for name in ("attn1", "attn2"):
        table |= _nest(name, name, attention_table())
    return table


def aia_block_table() -> Table:
    """One transformer block with All-in-Attention; one of its norms is never run."""
    table = _block_table() | AIA_BLOCK
    for published, ours in AIA_ATTENTIONS.items():
        table |= _nest(published, ours, attention_table())
    return table


def _transformer_table(block: Table) -> Table:
    table = _same(("norm", "proj_in", "proj_out"))
    return table | _nest("transformer_blocks.0", "transformer_blocks.0", block)


def aia_table(project_reference: bool = False) -> Table:
    """One spatial transformer with All-in-Attention."""
    projection = "reference_proj" if project_reference else None
    table = _transformer_table(aia_block_table()) | AIA_TRANSFORMER
    return table | {"proj_in_cref_lna": projection}


def _transformer(old: str, new: str) -> Table:
    return _nest(old, new, _transformer_table(_block_table()))


def _encoder_table(config: UNetConfig | ControlNetConfig) -> Table:
    table: Table = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
    }
    place = count(1)
    for level in range(len(config.block_out_channels)):
        new = f"down_blocks.{level}"
        for layer in range(config.layers_per_block):
            old = f"input_blocks.{next(place)}"
            table |= _nest(f"{old}.0", f"{new}.resnets.{layer}", RESNET)
            if 2**level in config.attention_factors:
                table |= _transformer(f"{old}.1", f"{new}.attentions.{layer}")
        if level < len(config.block_out_channels) - 1:
            table[f"input_blocks.{next(place)}.0.op"] = f"{new}.downsamplers.0.conv"
    table |= _nest("middle_block.0", "mid_block.resnets.0", RESNET)
    return table | _nest("middle_block.2", "mid_block.resnets.1", RESNET)


def unet_table(config: UNetConfig) -> Table:
    """Latent diffusion's U-Net with CoSeR's `_lna` layers."""
    table = _encoder_table(config)
    aia = aia_table(config.project_reference)
    table |= _nest("middle_block.1", "mid_block.attentions.0", aia)
    table |= {"out.0": "conv_norm_out", "out.2": "conv_out"}
    place = count()
    levels = len(config.block_out_channels)
    for level in reversed(range(levels)):
        new = f"up_blocks.{levels - 1 - level}"
        attentive = 2**level in config.attention_factors
        for layer in range(config.layers_per_block + 1):
            old = f"output_blocks.{next(place)}"
            table |= _nest(f"{old}.0", f"{new}.resnets.{layer}", RESNET)
            if attentive:
                table |= _nest(f"{old}.1", f"{new}.attentions.{layer}", aia)
        if level > 0:
            table[f"{old}.{1 + attentive}.conv"] = f"{new}.upsamplers.0.conv"
    return table


def controlnet_table(config: ControlNetConfig) -> Table:
    """CoSeR's ControlNet ("structcond")."""
    table = _encoder_table(config) | _transformer("middle_block.1", "mid_block.attentions.0")
    levels = len(config.block_out_channels)
    for place in range(levels * (config.layers_per_block + 1)):
        table[f"zero_convs.{place}.0"] = f"controlnet_down_blocks.{place}"
    table["middle_block_out.0"] = "controlnet_mid_block"
    return table | {"hint_zero_conv": "hint_conv"}


def qformer_table(config: QFormerConfig) -> Table:
    """CoSeR's global adapter; its text half is never run."""
    table: Table = {
        "query_tokens": "query_tokens",
        "Qformer.embeddings.LayerNorm": "norm",
        "Qformer.embeddings.word_embeddings": None,
        "Qformer.embeddings.position_embeddings": None,
        "Qformer.embeddings.position_ids": None,
    }
    layer: Table = {
        "intermediate.dense": None,
        "output.dense": None,
        "output.LayerNorm": None,
        "intermediate_query.dense": "ff_in",
        "output_query.dense": "ff_out",
        "output_query.LayerNorm": "ff_norm",
    }
    for old, new in (("attention", "self_attn"), ("crossattention", "cross_attn")):
        layer |= _nest(old, new, QFORMER_ATTENTION)
        layer[f"{old}.output.LayerNorm"] = f"{new}_norm"
    for index in range(config.num_layers):
        table |= _nest(f"Qformer.encoder.layer.{index}", f"layers.{index}", layer)
    return table


def _clip_blocks(old: str, new: str, layers: int) -> Table:
    """`new` may be any prefix; the last of more than `layers` blocks is not used."""
    parts = ("ln_1", "attn", "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    names = [f"resblocks.{index}.{part}" for index in range(layers) for part in parts]
    return _nest(old, new, {name: name for name in names})


def clip_tables(vision: ClipVisionConfig, text: ClipTextConfig) -> tuple[Table, Table]:
    """open_clip's CLIP as image tower and text tower: both tables know all names, each keeps its
    own half. Not used: `ln_post`, the projection and last block of the text, the logit scale.
    """
    image: Table = {"visual.ln_post": None}
    for name in ("class_embedding", "positional_embedding", "proj", "conv1", "ln_pre"):
        image[f"visual.{name}"] = f"visual.{name}"
    image |= _clip_blocks("visual.transformer", "visual.transformer", vision.layers)
    words: Table = dict.fromkeys(("text_projection", "logit_scale", "attn_mask"))
    for name in ("positional_embedding", "token_embedding", "ln_final"):
        words[name] = f"tower.{name}"
    words |= dict.fromkeys(_clip_blocks("transformer", "", text.layers))
    words |= _clip_blocks("transformer", "tower.transformer", text.layers - 1)
    return image | dict.fromkeys(words), words | dict.fromkeys(image)


def srresnet_table(config: SRResNetConfig) -> Table:
    """The published names are ours."""
    names = ["conv_first", "upconv1", "upconv2", "conv_hr", "conv_last"]
    names += [f"body.{i}.conv{n}" for i in range(config.num_block) for n in (1, 2)]
    return {name: name for name in names}


def diffusers_unet_table(config: UNetConfig) -> Table:
    """The UNet2DConditionModel of diffusers: its names are ours."""
    return _same(tuple(name for name in unet_table(config).values() if name is not None))


def diffusers_vae_table(config: AutoencoderConfig) -> Table:
    """The AutoencoderKL of diffusers: its names are ours, but for attentions in older files."""
    table = _same(tuple(name for name in vae_table(config).values() if name is not None))
    old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    for side in ("encoder", "decoder"):
        attention = f"{side}.mid_block.attentions.0"
        table |= _nest(attention, attention, old)
    return table


def diffusers_text_table(config: ClipTextConfig) -> Table:
    """The CLIPTextModel of transformers, but for the attentions' three projections: ours are one.

    The last of `config.layers` layers is not used; the published files leave it out.
    """
    layer = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    table: Table = {
        "text_model.embeddings.token_embedding": "tower.token_embedding",
        "text_model.embeddings.position_embedding.weight": "tower.positional_embedding",
        "text_model.embeddings.position_ids": None,
        "text_model.final_layer_norm": "tower.ln_final",
    }
    for index in range(config.layers):
        old, new = f"text_model.encoder.layers.{index}", f"tower.transformer.resblocks.{index}"
        if index < config.layers - 1:
            table |= _nest(old, new, layer)
        else:
            projections = (f"self_attn.{name}_proj" for name in "qkv")
            table |= dict.fromkeys(f"{old}.{name}" for name in (*layer, *projections))
    return table
