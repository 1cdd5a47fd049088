"""Stage "cognition": image tower and Q-Former learn the caption's last text tokens (L_CE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coser_cli.models.srresnet import SRResNet
from coser_cli.training.latents import Captions
from coser_cli.training.pixels import Batches


class CognitionStage:
    """L_CE of CoSeR sec. 3.1: mean squared error of E and L'; the SRResNet stays as it is.

    `photo_of_row` gives the caption index of each pool row.
    """

    def __init__(
        self,
        encoder: nn.Module,
        srresnet: SRResNet,
        batches: Batches,
        captions: Captions,
        photo_of_row: Tensor,
    ) -> None:
        self.encoder, self.srresnet, self.batches = encoder, srresnet.eval(), batches
        self.captions, self.photo_of_row = captions, photo_of_row
        self.variance = captions.selected.float().var()

    def __call__(self, step: int) -> dict[str, Tensor]:
        _, low, rows = next(self.batches)
        with torch.no_grad():
            restored = self.srresnet(low)
        target = self.captions.selected[self.photo_of_row[torch.from_numpy(rows)]]
        error = (self.encoder(restored).float() - target).square().mean()
        return {"loss": error, "explained": 1 - error.detach() / self.variance}
