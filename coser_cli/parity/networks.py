"""Our networks from golden items: sizes from the sidecars, weights through the converter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor, nn

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
from coser_cli.models.aia import AiABlock, AiATransformer, OneHotAttention
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.cfw import CFWDecoder
from coser_cli.models.clip import ClipText, ClipVision
from coser_cli.models.cognitive_encoder import CognitiveEncoder, CognitiveEncoderConfig, QFormer
from coser_cli.models.controlnet import ControlNet
from coser_cli.models.srresnet import SRResNet
from coser_cli.models.unet import UNet
from coser_cli.parity.load import GoldenSet
from coser_cli.weights.checkpoints import tables
from coser_cli.weights.checkpoints.names import PREFIXES, apply_table

Published = dict[str, Any]
Network = TypeVar("Network", bound=nn.Module)


def autoencoder_config(sidecar: Published) -> AutoencoderConfig:
    """`config`, `embed_dim`, `scale_factor` of a vae or cfw sidecar."""
    config = sidecar["config"]
    return AutoencoderConfig(
        block_out_channels=tuple(config["ch"] * factor for factor in config["ch_mult"]),
        layers_per_block=config["num_res_blocks"],
        latent_channels=sidecar["embed_dim"],
        scaling_factor=sidecar.get("scale_factor", AutoencoderConfig.scaling_factor),
    )


def _denoiser_fields(config: Published) -> Published:
    return {
        "in_channels": config["in_channels"],
        "block_out_channels": tuple(
            config["model_channels"] * factor for factor in config["channel_mult"]
        ),
        "layers_per_block": config["num_res_blocks"],
        "attention_factors": tuple(config["attention_resolutions"]),
        "head_dim": config["num_head_channels"],
        "context_dim": config["context_dim"],
    }


def unet_config(config: Published) -> UNetConfig:
    """Of latent diffusion's field names."""
    return UNetConfig(out_channels=config["out_channels"], **_denoiser_fields(config))


def controlnet_config(config: Published) -> ControlNetConfig:
    """Of latent diffusion's field names."""
    return ControlNetConfig(**_denoiser_fields(config))


def clip_configs(config: Published) -> tuple[ClipVisionConfig, ClipTextConfig]:
    """Of open_clip's model configuration."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    image = ClipVisionConfig(
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        width=vision["width"],
        layers=vision["layers"],
        heads=vision["width"] // vision.get("head_width", 64),
        mlp_ratio=vision.get("mlp_ratio", 4.0),
        output_dim=config["embed_dim"],
    )
    fields = ("context_length", "vocab_size", "width", "heads", "layers")
    return image, ClipTextConfig(**{field: text[field] for field in fields})


def qformer_config(config: Published, weights: dict[str, Tensor]) -> QFormerConfig:
    """Of BERT's field names; the width is that of the queries."""
    return QFormerConfig(
        num_queries=config["num_query_token"],
        hidden_size=weights[PREFIXES["qformer"] + "query_tokens"].shape[-1],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
        encoder_width=config["vision_width"],
        cross_attention_frequency=config["cross_attention_freq"],
        layer_norm_eps=config["layer_norm_eps"],
    )


def load(
    network: Network, weights: dict[str, Tensor], table: tables.Table, prefix: str = ""
) -> Network:
    """The network with published weights, strictly, for inference."""
    plain = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    network.load_state_dict(apply_table(plain, table, type(network).__name__))
    return network.eval().requires_grad_(False)


def aia_block(golden: GoldenSet, name: str) -> AiABlock:
    """`weights/*` relative to the block."""
    config = golden.config(name)
    block = AiABlock(config["dim"], config["d_head"], config["context_dim"])
    return load(block, golden.weights(name), tables.aia_block_table())


def aia_transformer(golden: GoldenSet, name: str) -> AiATransformer:
    """`weights/*` relative to the transformer."""
    config = golden.config(name)
    dim = config["in_channels"]
    transformer = AiATransformer(
        dim,
        config["d_head"],
        config["context_dim"],
        UNetConfig.norm_num_groups,
        control_dim=dim // 2 if config["dubch"] else dim,
    )
    return load(transformer, golden.weights(name), tables.aia_table())


def hard_attention(golden: GoldenSet, name: str) -> OneHotAttention:
    """`weights/*` relative to the attention."""
    config = golden.config(name)
    attention = OneHotAttention(config["query_dim"], config["heads"], config["dim_head"])
    return load(attention, golden.weights(name), tables.attention_table())


@dataclass(frozen=True)
class Networks:
    """All networks of a golden set, each built when first asked for."""

    golden: GoldenSet

    @cached_property
    def srresnet(self) -> SRResNet:
        """Item `srresnet`."""
        config = self.golden.config("srresnet")
        ours = SRResNetConfig(config["num_feat"], config["num_block"])
        weights, table = self.golden.weights("srresnet"), tables.srresnet_table(ours)
        return load(SRResNet(ours), weights, table, PREFIXES["srresnet"])

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """Item `vae`."""
        config = autoencoder_config(self.golden.sidecar("vae"))
        table = tables.vae_table(config)
        return load(Autoencoder(config), self.golden.weights("vae"), table, PREFIXES["vae"])

    @cached_property
    def cfw(self) -> CFWDecoder:
        """Item `cfw`."""
        sidecar = self.golden.sidecar("cfw")
        config = CFWConfig(
            autoencoder=autoencoder_config(sidecar),
            num_fuse_blocks=sidecar["num_fuse_block"],
            growth_channels=sidecar["num_grow_ch"],
        )
        return load(CFWDecoder(config), self.golden.weights("cfw"), tables.cfw_table(config))

    @cached_property
    def clip_vision(self) -> ClipVision:
        """Image half of item `clip`."""
        vision, text = clip_configs(self.golden.config("clip"))
        table = tables.clip_tables(vision, text)[0]
        return load(ClipVision(vision), self.golden.weights("clip"), table, PREFIXES["clip"])

    @cached_property
    def text(self) -> ClipText:
        """Text half of item `clip`."""
        vision, text = clip_configs(self.golden.config("clip"))
        table = tables.clip_tables(vision, text)[1]
        return load(ClipText(text), self.golden.weights("clip"), table, PREFIXES["clip"])

    @cached_property
    def qformer(self) -> QFormer:
        """Item `qformer`."""
        weights = self.golden.weights("qformer")
        config = qformer_config(self.golden.config("qformer"), weights)
        return load(QFormer(config), weights, tables.qformer_table(config), PREFIXES["qformer"])

    @cached_property
    def cognition(self) -> CognitiveEncoder:
        """Items `clip` and `qformer` as one encoder."""
        config = CognitiveEncoderConfig(self.clip_vision.config, self.qformer.config)
        encoder = CognitiveEncoder(config)
        encoder.clip, encoder.qformer = self.clip_vision, self.qformer
        return encoder.eval()

    @cached_property
    def unet(self) -> UNet:
        """Item `unet`."""
        config = unet_config(self.golden.config("unet"))
        weights = self.golden.weights("unet")
        return load(UNet(config), weights, tables.unet_table(config), PREFIXES["unet"])

    @cached_property
    def controlnet(self) -> ControlNet:
        """Item `controlnet`."""
        config = controlnet_config(self.golden.config("controlnet"))
        weights, table = self.golden.weights("controlnet"), tables.controlnet_table(config)
        return load(ControlNet(config), weights, table, PREFIXES["controlnet"])
