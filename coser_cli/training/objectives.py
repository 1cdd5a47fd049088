"""Objectives of the stages before diffusion: the pre-restorer, and cognition."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coser_cli.models.cognitive_encoder import CognitiveEncoder, cognitive_loss
from coser_cli.models.srresnet import SRResNet
from coser_cli.training.examples import Batch
from coser_cli.training.frozen import Texts
from coser_cli.training.loop import Objective
from coser_cli.training.losses import PictureLoss


class SRResNetObjective(Objective):
    """The pre-restorer's picture against the teacher's and the true one."""

    def __init__(self, network: SRResNet, loss: PictureLoss) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({"srresnet": network})
        self.loss = loss

    def losses(self, batch: Batch) -> dict[str, Any]:
        output = self._enlarged(batch["low"])
        return self.loss(output, batch, output)

    def _enlarged(self, low: Tensor) -> Tensor:
        """A picture is continued at its edges first; a crop whose border does not count is not."""
        network = self.networks["srresnet"]
        assert isinstance(network, SRResNet)
        if self.loss.weights.border >= SRResNet.scale * network.config.edge:
            return network.reconstruct(network.extract(low), low)
        output: Tensor = network(low)
        return output

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        columns = super().pictures(batch)
        columns |= {"teacher": batch["teacher"]} if "teacher" in batch else {}
        return {**columns, "result": self.networks["srresnet"](batch["low"])}


class CognitionObjective(Objective):
    """L_CE (paper, sec. 3.1) between E and the caption's last text tokens; CLIP is frozen where it
    was trained elsewhere. The SRResNet learns by this loss alone, as published, or is frozen."""

    def __init__(self, encoder: CognitiveEncoder, srresnet: SRResNet, texts: Texts) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({"cognitive_encoder": encoder, "srresnet": srresnet})
        self.texts = texts

    def losses(self, batch: Batch) -> dict[str, Any]:
        states, lengths = self.texts(batch["caption"])
        restored = self.networks["srresnet"](batch["low"])
        embedding = self.networks["cognitive_encoder"](restored)
        return {"loss": cognitive_loss(embedding.float(), states, lengths)}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        return {**super().pictures(batch), "seen": self.networks["srresnet"](batch["low"])}


@torch.no_grad()
def aim_at_captions(encoder: CognitiveEncoder, texts: Texts, captions: list[str]) -> None:
    """Start a fresh Q-Former's output at the statistics of caption tokens."""
    from coser_cli.models.cognitive_encoder import select_text_tokens

    count = encoder.config.qformer.num_queries
    encoder.qformer.aim_at(select_text_tokens(*texts(captions), count))
