"""Cognitive encoder: pre-restored picture → CLIP image tokens → Q-Former → embedding E."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from coser_cli.models.clip import ClipVision
from coser_cli.models.config import ClipVisionConfig, QFormerConfig
from coser_cli.models.qformer import QFormer


@dataclass(frozen=True)
class CognitiveEncoderConfig:
    """Image tower and adapter; the tower's `output_dim` is the adapter's `encoder_width`."""

    clip: ClipVisionConfig = field(default_factory=ClipVisionConfig)
    qformer: QFormerConfig = field(default_factory=QFormerConfig)


class CognitiveEncoder(nn.Module):
    """What the picture shows, as T_e tokens in the space of the text encoder."""

    def __init__(self, config: CognitiveEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.clip = ClipVision(config.clip)
        self.qformer = QFormer(config.qformer)

    def forward(self, pre_restored: Tensor) -> Tensor:
        """Pixels `(B, 3, H, W)` from the SRResNet, any size, not clamped → E `(B, T_e, C)`."""
        return self.qformer(self.clip(pre_restored))
