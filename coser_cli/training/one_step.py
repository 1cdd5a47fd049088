"""A model that restores in one step: trained, or distilled, by what its pictures look like.

One evaluation of the denoiser at `OneStep.timestep` takes the latents of the LR picture to those of
the result, which are decoded and compared with the teacher's picture and the true one. The networks
may be fresh (`mini`), or those of a model that restores in many steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coser_cli.config import OneStep
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.training.examples import Batch, noise_of
from coser_cli.training.forward import Forward
from coser_cli.training.frozen import Understanding, encode_all
from coser_cli.training.loop import Objective
from coser_cli.training.losses import PictureLoss
from coser_cli.training.restoration import predict


@dataclass(frozen=True)
class PlainDecoding:
    """In one step of `every` the LR picture's latents are decoded without diffusion, too, and
    compared by L1 with `weight`: results of strength 0 stay good. Weight 0 leaves it out."""

    weight: float = 0.0
    every: int = 4


class OneStepObjective(Objective):
    """`networks`: "unet", "controlnet" and "vae"."""

    def __init__(
        self,
        networks: nn.ModuleDict,
        understanding: Understanding,
        process: Forward,
        one_step: OneStep,
        loss: PictureLoss,
        plain: PlainDecoding,
    ) -> None:
        super().__init__()
        self.networks, self.understanding, self.process = networks, understanding, process
        self.one_step, self.loss, self.plain = one_step, loss, plain

    @property
    def vae(self) -> Autoencoder:
        """The autoencoder, which learns as well or is frozen."""
        vae = self.networks["vae"]
        assert isinstance(vae, Autoencoder)
        return vae

    def losses(self, batch: Batch) -> dict[str, Any]:
        result, start, picture = self.restore(batch)
        terms = self.loss(result, batch, picture)
        if self.plain.weight and batch["step"] % self.plain.every == 0:
            plain = self.vae.decode(start).float()
            terms["plain"] = self._distance(plain, batch)
            terms["loss"] = terms["loss"] + self.plain.weight * terms["plain"]
        return terms

    def restore(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The result `(B, 3, H, W)`, the latents it started from, and their picture."""
        picture, context = encode_all(self.understanding, batch)
        start = self.vae.encode(picture)
        hints = {"low_res": start}
        if "reference" in batch:
            hints["reference"] = self.vae.encode(batch["reference"])
        timesteps = torch.full_like(batch["number"], self.one_step.timestep)
        noisy = start
        if self.one_step.noised:
            noisy = self.process.noisy(start, noise_of(batch, start), timesteps)
        output = predict(self.networks, noisy, timesteps, hints, context)
        clean = self.process.clean(output.float(), noisy.float(), timesteps)
        return self.vae.decode(clean), start, picture

    def _distance(self, output: Tensor, batch: Batch) -> Tensor:
        targets = [batch[name] for name in ("teacher", "high") if name in batch]
        return torch.stack([(output - target).abs().mean() for target in targets]).mean()

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        result, start, _ = self.restore(batch)
        columns = super().pictures(batch)
        columns |= {"teacher": batch["teacher"]} if "teacher" in batch else {}
        return {**columns, "plain": self.vae.decode(start), "result": result}
