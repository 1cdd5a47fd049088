"""The numbers of every network, one frozen dataclass each; no torch here.

`mini`, `sd21` and the toy sizes of the tests differ in these numbers only. Where the published
checkpoints and the paper part (reference projection, ControlNet attention levels), the field's
default is what the published checkpoints need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class SRResNetConfig:
    """Light pre-restorer, ×4, without batch norm.

    `upsampling`: "pixel_shuffle", as published, or "nearest": every pixel repeated and a
    convolution, twice, with `up_feat` channels, which cannot draw a mesh. `edge`: by so many of
    its last pixels a picture is continued on each side; cut off again.
    """

    num_feat: int = 64
    num_block: int = 16
    upsampling: str = "pixel_shuffle"
    up_feat: int = 64
    edge: int = 0


@dataclass(frozen=True)
class ClipVisionConfig:
    """Image tower of open_clip; `output_dim` is the width after `visual.proj`."""

    image_size: int = 224
    patch_size: int = 14
    width: int = 1280
    layers: int = 32
    heads: int = 16
    mlp_ratio: float = 4.0
    output_dim: int = 1024


@dataclass(frozen=True)
class ClipTextConfig:
    """Text tower of open_clip; the last block is skipped (penultimate-layer tokens)."""

    context_length: int = 77
    vocab_size: int = 49408
    width: int = 1024
    heads: int = 16
    layers: int = 24


@dataclass(frozen=True)
class SentenceTextConfig:
    """Text side of a model without a text tower of its own: states of a frozen sentence encoder.

    Token states are cut or filled (by repeating the last one) to `context_length`.
    """

    encoder: str = "all-MiniLM-L6-v2"
    context_length: int = 32
    width: int = 384


@dataclass(frozen=True)
class QFormerConfig:
    """Cognitive adapter: `num_queries` (T_e) learnable queries over image tokens."""

    num_queries: int = 50
    hidden_size: int = 1024
    num_layers: int = 12
    num_heads: int = 16
    intermediate_size: int = 3072
    encoder_width: int = 1024
    cross_attention_frequency: int = 2
    layer_norm_eps: float = 1e-12


@dataclass(frozen=True)
class LightAutoencoderConfig:
    """One convolution of folded pixels, 4 per cell along a side; back by nearest ×2 and a
    convolution, twice, with `width` and `up_width` channels, as ESRGAN's generator ends."""

    width: int = 64
    up_width: int = 32


@dataclass(frozen=True)
class AutoencoderConfig:
    """AutoencoderKL; pixels in [0, 1] outside, [-1, 1] inside; latents are scaled.

    `norm_num_groups` 0 leaves the group norms out: a pixel then depends on its neighbourhood only.
    `patch_size` > 1 folds squares of pixels into channels at both ends (pixel shuffle). With
    `light` all of it is that one, and `patch_size` is 4.
    """

    patch_size: int = 1
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 4
    norm_num_groups: int = 32
    mid_block_attention: bool = True
    scaling_factor: float = 0.18215
    light: LightAutoencoderConfig | None = None


@dataclass(frozen=True)
class CFWConfig:
    """Controllable feature wrapping: a decoder of its own that fuses encoder features.

    `own_encoder`: the published checkpoint carries a whole second autoencoder; without it the
    features come from the VAE's encoder, which has already run on the same picture.
    """

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    fuse_levels: tuple[int, ...] = (2, 1)
    num_fuse_blocks: int = 2
    growth_channels: int = 32
    own_encoder: bool = True


@dataclass(frozen=True)
class UNetConfig:
    """Denoising U-Net with All-in-Attention in its middle and decoder blocks.

    `attention_factors` are the down-factors (1, 2, 4 ...) that carry transformer blocks; the
    middle block always has one. `norm_num_groups` 0 leaves the group norms out. `conditions` name
    further pictures, beside the low-resolution one and the references, to attend to.
    `dense_blocks` > 0: so many residual-in-residual blocks, as in ESRGAN, per block of level 0,
    and nothing is activated before the last convolution. `direct_controls`: where a level has no
    attention, control maps are added to the skips, as in the plain ControlNet.
    """

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_factors: tuple[int, ...] = (1, 2, 4)
    head_dim: int = 64
    context_dim: int = 1024
    norm_num_groups: int = 32
    project_reference: bool = False
    conditions: tuple[str, ...] = ()
    dense_blocks: int = 0
    direct_controls: bool = False


@dataclass(frozen=True)
class ControlNetConfig:
    """Encoder and middle of the U-Net, fed with a latent hint; zero convolutions on its maps."""

    in_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_factors: tuple[int, ...] = (1, 4)
    head_dim: int = 64
    context_dim: int = 1024
    norm_num_groups: int = 32


@dataclass(frozen=True)
class ScheduleConfig:
    """Forward diffusion: scaled-linear betas over `num_train_timesteps`."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.0120
    prediction_type: str = "epsilon"


@dataclass(frozen=True)
class OneStep:
    """One evaluation of the denoiser at `timestep` of the training schedule, instead of sampling,
    of the low-resolution latents as they are or, with `noised`, with the timestep's noise."""

    timestep: int
    noised: bool = False


@dataclass(frozen=True)
class Defaults:
    """What a model uses where the user says nothing. `strength` 1 starts at the last timestep;
    `reference_steps` None are as many as `steps`."""

    steps: int = 50
    sampler: str = "ddpm"
    guidance_scale: float = 3.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    reference_steps: int | None = None
    reference_guidance_scale: float = 3.0
    strength: float = 1.0
    reference_strength: float = 1.0
    fidelity: float = 0.5
    color_fix: str = "none"
    reference_mode: str = "global"
    negative_prompt: str = (
        "worst quality, normal quality, low quality, low res, blurry, text, watermark, logo, "
        "banner, extra digits, cropped, jpeg artifacts, signature, username, error, sketch, "
        "duplicate, ugly, monochrome, horror, geometry, mutation, disgusting"
    )


@dataclass(frozen=True)
class ModelConfig:
    """A whole model. `low_res_source` is what the latents and CFW features of the LR image are
    made of: its bicubic enlargement ("bicubic", as published) or the SRResNet's ("srresnet");
    with `latents_of` "bicubic" the latents alone are made of a bicubic one all the same.
    `plain_result`: what strength 0 gives: those latents "decoded", as published, or the enlargement
    itself ("low_res"), where a small autoencoder would only take from it. `cfw` None: the
    autoencoder's own decoder makes the result. `align_references`: see `engine/alignment.py`.
    `working_size`: least short side in pixels that the networks work at, and `working_scale` least
    enlargement (see `size.size_to_work_at`). `native_size`: side of the pictures that its diffusion
    networks are at home with. `presets`: `defaults` that are others under a preset's name.
    `one_step`: how the result is restored; None: by a sampler. `reference`: how such a one-step
    model imagines references; None: not at all, so that only pictures of the user can guide it.
    `tile_overlap`: pixels by which tiles overlap, unless another number is asked for.
    `pass_scale`: enlargement by a pass of the SRResNet or a user's network (`pass_memory` bytes).
    """

    name: str
    srresnet: SRResNetConfig = field(default_factory=SRResNetConfig)
    clip_vision: ClipVisionConfig = field(default_factory=ClipVisionConfig)
    text: ClipTextConfig | SentenceTextConfig = field(default_factory=ClipTextConfig)
    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    cfw: CFWConfig | None = field(default_factory=CFWConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    controlnet: ControlNetConfig = field(default_factory=ControlNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    low_res_source: Literal["bicubic", "srresnet"] = "bicubic"
    latents_of: Literal["enlargement", "bicubic"] = "enlargement"
    plain_result: Literal["decoded", "low_res"] = "decoded"
    reference_roundtrip: bool = False
    align_references: bool = False
    native_size: int = 512
    working_size: int = 0
    working_scale: float = 0.0
    one_step: OneStep | None = None
    reference: OneStep | None = None
    defaults: Defaults = field(default_factory=Defaults)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tile_overlap: int = 256
    pass_scale: int = 4
    pass_memory: int | None = None

    def pre_restored(self) -> ModelConfig:
        """The same with a network of the user: all starts from its picture, strength 0 gives it.
        That is the default where latents are bicubic all the same: the step does not see it.
        """
        own = replace(self, low_res_source="srresnet", plain_result="low_res")
        if self.latents_of != "bicubic":
            return own
        return replace(own, defaults=replace(self.defaults, strength=0.0))

    def preset(self, name: str) -> Defaults:
        """The defaults under that name; "balanced" are `defaults`, as is what the model lacks."""
        return replace(self.defaults, **self.presets.get(name, {}))

    @property
    def imagines(self) -> bool:
        """Whether it can imagine references."""
        return self.one_step is None or self.reference is not None

    @property
    def downscale(self) -> int:
        """Pixels per latent cell, f."""
        levels = len(self.autoencoder.block_out_channels)
        return self.autoencoder.patch_size * 2 ** (levels - 1)

    @property
    def pixel_multiple(self) -> int:
        """Sides of the enlarged picture must be multiples of this for the U-Net's skips to fit."""
        return self.downscale * 2 ** (len(self.unet.block_out_channels) - 1)


# Nobody has measured these presets: sister methods' default (DiffBIR), and the paper's steps
SD21 = ModelConfig(
    name="sd21",
    working_size=512,
    presets={
        "fast": {"sampler": "dpmpp-2m-sde", "steps": 10},
        "best": {"steps": 200},
    },
)
_MINI_LEVELS: dict[str, Any] = {
    "in_channels": 64,
    "block_out_channels": (64, 96, 128),
    "layers_per_block": 1,
    "attention_factors": (4,),
    "head_dim": 32,
    "context_dim": 384,
    "norm_num_groups": 0,
}
MINI = ModelConfig(
    name="mini",
    srresnet=SRResNetConfig(64, 14, upsampling="nearest", up_feat=32, edge=4),
    clip_vision=ClipVisionConfig(
        image_size=224, patch_size=16, width=160, layers=4, heads=5, output_dim=160
    ),
    text=SentenceTextConfig(),
    qformer=QFormerConfig(
        num_queries=16,
        hidden_size=384,
        num_layers=2,
        num_heads=6,
        intermediate_size=512,
        encoder_width=160,
        cross_attention_frequency=1,
    ),
    autoencoder=AutoencoderConfig(
        patch_size=4,
        block_out_channels=(64,),
        latent_channels=64,
        norm_num_groups=0,
        mid_block_attention=False,
        scaling_factor=1.0,
        light=LightAutoencoderConfig(up_width=48),
    ),
    cfw=None,
    unet=UNetConfig(
        **_MINI_LEVELS,
        out_channels=64,
        project_reference=True,
        dense_blocks=2,
        direct_controls=True,
    ),
    controlnet=ControlNetConfig(**_MINI_LEVELS),
    low_res_source="srresnet",
    latents_of="bicubic",
    plain_result="low_res",
    align_references=True,
    working_scale=4.0,
    tile_overlap=64,  # 0.03 levels of 255 from the untiled result (docs/large-photos.md)
    one_step=OneStep(100),
    reference=OneStep(100),
    # feeding the imagined reference back brings nothing (docs/figures.md)
    defaults=Defaults(
        steps=1,
        guidance_scale=1.0,
        reference_guidance_scale=1.0,
        reference_mode="none",
    ),
    presets={"fast": {"strength": 0.0}},
)
VARIANTS = {config.name: config for config in (MINI, SD21)}
