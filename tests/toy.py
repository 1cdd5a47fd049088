"""The toy model that most tests build: every network of the real classes, small enough for tests.

`pixel_multiple` is 4: f = 2 and one downsampling in the U-Net. Tests `replace` what must be other.
"""

from typing import Any

from coser_cli.config import (
    AutoencoderConfig,
    CFWConfig,
    ClipVisionConfig,
    ControlNetConfig,
    Defaults,
    LightAutoencoderConfig,
    ModelConfig,
    QFormerConfig,
    SentenceTextConfig,
    SRResNetConfig,
    UNetConfig,
)

DENOISER: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "attention_factors": (1, 2),
    "head_dim": 8,
    "context_dim": 16,
    "norm_num_groups": 8,
}
AUTOENCODER = AutoencoderConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
LIGHT_AUTOENCODER = AutoencoderConfig(
    patch_size=4,
    block_out_channels=(8,),
    layers_per_block=1,
    latent_channels=6,
    norm_num_groups=0,
    mid_block_attention=False,
    scaling_factor=2.0,
    light=LightAutoencoderConfig(width=8, up_width=4),
)
"""Like that of `mini`."""
TOY = ModelConfig(
    name="toy",
    srresnet=SRResNetConfig(num_feat=8, num_block=1),
    clip_vision=ClipVisionConfig(32, 16, 32, layers=1, heads=2, output_dim=16),
    text=SentenceTextConfig(context_length=5, width=16),
    qformer=QFormerConfig(4, 16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16),
    autoencoder=AUTOENCODER,
    cfw=CFWConfig(AUTOENCODER, fuse_levels=(1,), num_fuse_blocks=1, growth_channels=4),
    unet=UNetConfig(**DENOISER),
    controlnet=ControlNetConfig(**DENOISER),
    defaults=Defaults(steps=2, color_fix="none"),
)
