"""Stage 2: the ControlNet and the All-in-Attention on the frozen base; and further conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coser_cli.models.controlnet import ControlNet
from coser_cli.models.unet import Controls, UNet
from coser_cli.training.conditions import condition_of
from coser_cli.training.examples import Batch, noise_of
from coser_cli.training.forward import Forward
from coser_cli.training.frozen import Understanding, encode_all
from coser_cli.training.loop import Objective


def predict(
    networks: Mapping[str, Any] | nn.ModuleDict,
    noisy: Tensor,
    timesteps: Tensor,
    hints: Mapping[str, Tensor],
    context: Tensor,
) -> Tensor:
    """The U-Net's output for latents `(B, C, h, w)` with the hint latents of "low_res", and of
    "reference" and further conditions where they are given; one call of the ControlNet for all."""
    unet, controlnet = networks["unet"], networks["controlnet"]
    assert isinstance(unet, UNet) and isinstance(controlnet, ControlNet)
    prepared = controlnet.prepare_context([context])
    maps = controlnet(noisy, timesteps, torch.cat(tuple(hints.values())), prepared)
    parts = zip(*(each.chunk(len(hints)) for each in maps), strict=True)
    maps_of = dict(zip(hints, parts, strict=True))
    controls = Controls(
        maps_of["low_res"],
        maps_of.get("reference"),
        conditions=tuple(maps_of.get(name) for name in unet.config.conditions),
    )
    output: Tensor = unet(noisy, timesteps, unet.prepare_context([context]), controls)
    return output


class RestorationObjective(Objective):
    """The error of the denoiser that sees the LR picture's latents, a reference, and [prompt ‖ E].

    The reference is a real picture (spec of the published training): what the examples carry.
    `conditions` names further pictures, which are made of the true ones.
    """

    def __init__(
        self,
        networks: nn.ModuleDict,
        understanding: Understanding,
        forward: Forward,
        conditions: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.networks, self.understanding, self.process = networks, understanding, forward
        self.conditions = {name: condition_of(name) for name in conditions}

    def losses(self, batch: Batch) -> dict[str, Any]:
        picture, context = encode_all(self.understanding, batch)
        high = self.understanding.latents(batch["high"])
        timesteps, noise = self.process.timesteps(batch["uniform"]), noise_of(batch, high)
        noisy = self.process.noisy(high, noise, timesteps)
        output = predict(self.networks, noisy, timesteps, self._hints(batch, picture), context)
        return {"loss": self.process.loss(output, high, noise, timesteps).mean()}

    def _hints(self, batch: Batch, picture: Tensor) -> dict[str, Tensor]:
        """Hint latents by the name of their condition."""
        pictures = {"low_res": picture}
        if "reference" in batch:
            pictures["reference"] = batch["reference"]
        pictures |= {name: make(batch["high"]) for name, make in self.conditions.items()}
        return {name: self.understanding.latents(each) for name, each in pictures.items()}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """The guess at the true picture from the middle of the forward process."""
        picture, context = encode_all(self.understanding, batch)
        high = self.understanding.latents(batch["high"])
        timesteps = torch.full_like(batch["number"], self.process.config.num_train_timesteps // 2)
        noisy = self.process.noisy(high, noise_of(batch, high), timesteps)
        output = predict(self.networks, noisy, timesteps, self._hints(batch, picture), context)
        clean = self.process.clean(output.float(), noisy, timesteps)
        assert self.understanding.vae is not None
        guess = self.understanding.vae.decode(clean)
        return {**super().pictures(batch), "enlarged": picture, "guess": guess}
