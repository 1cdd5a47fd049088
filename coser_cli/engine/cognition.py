"""What the picture shows: the cognitive embedding and the texts that steer the U-Net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from coser_cli.models.build import CoSeR
    from coser_cli.models.controlnet import ControlNet
    from coser_cli.models.transformer import PreparedContext
    from coser_cli.models.unet import UNet


@dataclass(frozen=True)
class Cognition:
    """Cognitive embedding `(B, T_e, C)`, prompt and negative prompt `(B or 1, L, C)`.

    Keys and values of the cross-attentions are computed once and kept: an instance belongs to one
    picture, or one batch of them, and one model.
    """

    embedding: Tensor
    text: Tensor
    negative: Tensor
    _prepared: dict[str, PreparedContext] = field(default_factory=dict, repr=False, compare=False)

    @property
    def positive(self) -> Tensor:
        """The positive context `(B, L + T_e, C)`: prompt, then cognitive embedding."""
        text = self.text.expand(self.embedding.shape[0], -1, -1)
        return torch.cat((text, self.embedding), dim=1)

    def to(self, dtype: torch.dtype) -> Cognition:
        """The same in another dtype; itself, with all it has prepared, if it has that already."""
        if self.embedding.dtype == dtype:
            return self
        return Cognition(self.embedding.to(dtype), self.text.to(dtype), self.negative.to(dtype))

    def without_embedding(self) -> Cognition:
        """The prompts alone: what the model does when it has not understood the picture."""
        return Cognition(self.embedding[:, :0], self.text, self.negative)

    def for_unet(self, unet: UNet, branches: int) -> PreparedContext:
        """The positive context alone, or with the negative one beside it (2 branches). The negative
        prompt stands alone: the embedding is replaced, not kept (spec sec. 1)."""
        positive = self._once("positive", lambda: unet.prepare_context([self.positive]))
        if branches == 1:
            return positive
        negative = self._once("negative", lambda: unet.prepare_context([self.negative]))
        return self._once("both", lambda: positive.beside(negative))

    def for_controlnet(self, controlnet: ControlNet) -> PreparedContext:
        """The positive context; its control features serve both branches."""
        return self._once("controlnet", lambda: controlnet.prepare_context([self.positive]))

    def _once(self, name: str, prepare: Callable[[], PreparedContext]) -> PreparedContext:
        if name not in self._prepared:
            self._prepared[name] = prepare()
        return self._prepared[name]


def understand(model: CoSeR, pre_restored: Tensor, text: Tensor, negative: Tensor) -> Cognition:
    """Cognition of the SRResNet's result `(B, 3, 4H, 4W)`, with both texts `(1, L, C)`."""
    embedding = model.cognition(pre_restored)
    return Cognition(embedding, text.to(embedding), negative.to(embedding))
