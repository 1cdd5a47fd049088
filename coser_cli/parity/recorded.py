"""A recorded run: its options and noise, and the golden networks as a model for the engine."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from coser_cli.config import ModelConfig, ScheduleConfig
from coser_cli.engine import decoding
from coser_cli.engine.cognition import Cognition, understand
from coser_cli.engine.color_fix import color_fix
from coser_cli.engine.compute.runtime import Runtime
from coser_cli.engine.preparation import LowRes
from coser_cli.engine.upscaler import Upscaler
from coser_cli.models.build import CoSeR
from coser_cli.parity.load import GoldenSet
from coser_cli.parity.networks import Networks
from coser_cli.sampling.schedulers import add_noise
from coser_cli.sampling.types import OnStep
from coser_cli.settings import Settings

Tensors = dict[str, Tensor]

OPTIONS: dict[str, int | float | str] = {
    "ddpm_steps": 50,
    "cfg": 3.0,
    "cfg_ref": 3.0,
    "upscale": 4.0,
    "dec_w": 0.5,
    "colorfix_type": "nofix",
    "input_size": 512,
    "tile_overlap": 32,
    "vqgantile_size": 1280,
    "vqgantile_stride": 1000,
}
"""The options of the published scripts that change numbers, and their defaults."""
PARTS = {
    "srresnet": "srresnet",
    "vae": "autoencoder",
    "text": "text",
    "cognitive_encoder": "cognition",
    "unet": "unet",
    "controlnet": "controlnet",
}
"""Part of a model -> golden network; CFW belongs to some variants only."""
STREAMS = {"start": "noise_x_T", "imagine": "noise_ref", "restore": "noise_sr"}


def parse(args: list[str]) -> argparse.Namespace:
    """Recorded options; those that only name files are ignored."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for option, default in OPTIONS.items():
        parser.add_argument(f"--{option}", type=type(default), default=default)
    parser.add_argument("--wocfw", action="store_true")
    return parser.parse_known_args(args)[0]


def settings_of(options: argparse.Namespace) -> Settings:
    """Published options as ours."""
    fix = options.colorfix_type
    return Settings(
        scale=options.upscale,
        steps=options.ddpm_steps,
        sampler="ddpm",
        guidance_scale=options.cfg,
        reference_guidance_scale=options.cfg_ref,
        strength=1.0,
        reference_strength=1.0,
        fidelity=options.dec_w,
        color_fix=fix if fix in ("adain", "wavelet") else "none",
    )


def truncated(pixels: Tensor) -> Tensor:
    """Pixels `(1, 3, H, W)` → uint8 `(H, W, 3)` as the published code saves: cut, not rounded."""
    return (pixels.clamp(0, 1)[0].permute(1, 2, 0) * 255).to(torch.uint8)


def signed(pixels: Tensor) -> Tensor:
    """[0, 1] → [-1, 1], in which the runs were recorded."""
    return pixels * 2 - 1


def append_to(states: list[Tensor]) -> OnStep:
    """Keeps the latents after every step."""
    return lambda done, total, latents: states.append(latents)


@dataclass
class Run:
    """One recorded run; `results` is what it should have stored."""

    golden: GoldenSet
    name: str
    networks: Networks

    @cached_property
    def variants(self) -> dict[str, argparse.Namespace]:
        """Options of each variant; variants differ in the decoding only."""
        recorded = self.golden.sidecar(self.name)["args"]
        return {variant: parse(args) for variant, args in recorded.items()}

    @cached_property
    def options(self) -> argparse.Namespace:
        """Options that all variants share."""
        return next(iter(self.variants.values()))

    @cached_property
    def inputs(self) -> Tensors:
        """The picture, tokens and noise."""
        return self.golden.inputs(self.name)

    @cached_property
    def pixels(self) -> Tensor:
        """The input picture, `(1, 3, H, W)` in [0, 1]."""
        return self.inputs["lr_uint8_hwc"].permute(2, 0, 1)[None].float() / 255

    def results(self) -> Tensors:
        """Everything computed, by the name of the output."""
        raise NotImplementedError

    def draw(self, stream: str, step: int) -> Tensor:
        """The recorded noise, in place of the engine's."""
        noise = self.inputs[STREAMS[stream]]
        return noise if stream == "start" else noise[step]

    def upscaler(self, cfw: bool = False) -> Upscaler:
        """The engine around the set's networks, configured as the published scripts."""
        networks = self.networks
        config = replace(
            ModelConfig(self.name),
            autoencoder=networks.autoencoder.config,
            unet=networks.unet.config,
            controlnet=networks.controlnet.config,
        )
        parts = {**PARTS, "cfw": "cfw"} if cfw else PARTS
        model = CoSeR(
            config, lambda part: getattr(networks, parts[part]) if part in parts else None
        )
        return Upscaler(Runtime(model, torch.device("cpu"), torch.float32))

    def understand(self) -> tuple[Cognition, Tensors]:
        """Cognition from the recorded tokens, and what it is made of."""
        pre_restored = self.networks.srresnet(self.pixels)
        encode = self.networks.text.encode_tokens
        user, negative = encode(self.inputs["tokens_user"]), encode(self.inputs["tokens_neg"])
        cognition = understand(self.upscaler().model, pre_restored, user, negative)
        return cognition, {
            "image_presr": pre_restored,
            "clip_vision_tokens": self.networks.clip_vision(pre_restored),
            "cog_embed": cognition.embedding,
            "text_user": cognition.text,
            "text_neg": cognition.negative,
        }

    def grey_latents(self, like: Tensor) -> Tensor:
        """VAE latents of a mid-grey picture of the size of `like`."""
        return self.networks.autoencoder.encode(torch.full_like(like, 0.5))

    def start(self, latents: Tensor) -> Tensor:
        """x_T."""
        schedule = ScheduleConfig()
        last = schedule.num_train_timesteps - 1
        return add_noise(latents, self.draw("start", 0), schedule, last)

    def decoded(self, variant: str, latents: Tensor, low_res: LowRes) -> tuple[Tensor, Tensor]:
        """Pixels of one variant before and after its colour fix, neither clamped."""
        options = self.variants[variant]
        settings, model = settings_of(options), self.upscaler(cfw=not options.wocfw).model
        pixels = decoding.decode(model, latents, low_res, options.dec_w)
        assert settings.color_fix is not None
        return pixels, color_fix(settings.color_fix, pixels, low_res.padded)


class WholeRun(Run):
    """`scripts/inference.py`: reference and result, untiled."""

    def results(self) -> Tensors:
        upscaler = self.upscaler()
        settings = upscaler.resolve(settings_of(self.options))
        low_res = upscaler.prepare(self.pixels, settings)
        cognition, results = self.understand()
        ref_steps: list[Tensor] = []
        sr_steps: list[Tensor] = []
        reference = upscaler.imagine(
            low_res, cognition, settings, draw=self.draw, on_step=append_to(ref_steps)
        )
        latents = upscaler.restore(
            low_res, cognition, reference, settings, draw=self.draw, on_step=append_to(sr_steps)
        )
        results |= {
            "im_lq_bs": signed(low_res.padded),
            "init_latent": low_res.latents,
            "x_T": self.start(low_res.latents),
            "ref_steps": torch.stack(ref_steps),
            "sr_steps": torch.stack(sr_steps),
            "ref_latent": reference,
            "final_latent": latents,
            "zero_image_latent": self.grey_latents(low_res.padded),
            "ref_decoded": signed(self.networks.autoencoder.decode(reference)),
            "ref_uint8": truncated(upscaler.decode_reference(reference, low_res)),
        }
        for variant in self.variants:
            results |= self._pictures(variant, latents, low_res)
        return results

    def _pictures(self, variant: str, latents: Tensor, low_res: LowRes) -> Tensors:
        options = self.variants[variant]
        upscaler = self.upscaler(cfw=not options.wocfw)
        decoded, fixed = self.decoded(variant, latents, low_res)
        settings = upscaler.resolve(settings_of(options))
        saved = upscaler.decode(latents, low_res, settings)
        return {
            f"{variant}/decoded": signed(decoded),
            f"{variant}/colorfixed": signed(fixed),
            f"{variant}/png_uint8": truncated(saved),
        }
