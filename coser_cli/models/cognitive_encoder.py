"""Cognitive encoder: picture → CLIP image tokens → Q-Former → embedding E; and its loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.config import ClipVisionConfig, QFormerConfig
from coser_cli.models.attention import Attention
from coser_cli.models.clip import ClipVision


class QFormerLayer(nn.Module):
    """BERT layer (post-norm, exact GELU) on queries `(B, T_e, hidden_size)`, with cross-attention
    to image tokens `(B, M, encoder_width)` if `cross`.
    """

    def __init__(self, config: QFormerConfig, cross: bool) -> None:
        super().__init__()
        width, eps, heads = config.hidden_size, config.layer_norm_eps, config.num_heads
        self.self_attn = Attention(width, heads, width // heads, bias=True)
        self.self_attn_norm = nn.LayerNorm(width, eps)
        self.cross = cross
        if cross:
            image_width = config.encoder_width
            self.cross_attn = Attention(width, heads, width // heads, image_width, bias=True)
            self.cross_attn_norm = nn.LayerNorm(width, eps)
        self.ff_in = nn.Linear(width, config.intermediate_size)
        self.ff_out = nn.Linear(config.intermediate_size, width)
        self.ff_norm = nn.LayerNorm(width, eps)

    def forward(self, queries: Tensor, image_tokens: Tensor) -> Tensor:
        queries = self.self_attn_norm(queries + self.self_attn(queries))
        if self.cross:
            queries = self.cross_attn_norm(queries + self.cross_attn(queries, image_tokens))
        return self.ff_norm(queries + self.ff_out(F.gelu(self.ff_in(queries))))


class QFormer(nn.Module):
    """Cognitive adapter (CoSeR sec. 3.1): image tokens → T_e tokens in the text's space."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_queries, config.hidden_size))
        nn.init.normal_(self.query_tokens, std=0.02)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        every = config.cross_attention_frequency
        self.layers = nn.ModuleList(
            QFormerLayer(config, cross=index % every == 0) for index in range(config.num_layers)
        )

    @torch.no_grad()
    def aim_at(self, targets: Tensor) -> None:
        """Start the output at the mean and deviation, per channel, of `targets` `(N, T_e, C)`: from
        unit variance a post-norm network would need long to reach them.
        """
        last = self.layers[-1].ff_norm
        assert isinstance(last, nn.LayerNorm)
        last.weight.copy_(targets.std((0, 1)) / 2)
        last.bias.copy_(targets.mean((0, 1)))

    def forward(self, image_tokens: Tensor) -> Tensor:
        """Image tokens `(B, M, encoder_width)` → embedding E `(B, T_e, hidden_size)`."""
        queries = self.norm(self.query_tokens).expand(len(image_tokens), -1, -1)
        for layer in self.layers:
            queries = layer(queries, image_tokens)
        return queries


def select_text_tokens(text: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The last `count` caption tokens of text states `(B, L, C)` → `(B, count, C)`.

    `lengths` `(B,)` counts the tokens up to and with the end token; a caption with fewer than
    `count` is filled up by repeating its end token (spec sec. 4).
    """
    last = (lengths - 1).unsqueeze(1)
    first = (lengths - count).clamp_min(0).unsqueeze(1)
    index = torch.minimum(first + torch.arange(count, device=text.device), last)
    return text.gather(1, index.unsqueeze(-1).expand(-1, -1, text.shape[-1]))


def cognitive_loss(embedding: Tensor, text: Tensor, lengths: Tensor) -> Tensor:
    """L_CE: mean squared error between E `(B, T_e, C)` and the selected tokens of the caption's
    states `(B, L, C)`; a scalar.
    """
    return F.mse_loss(embedding, select_text_tokens(text, lengths, embedding.shape[1]))


@dataclass(frozen=True)
class CognitiveEncoderConfig:
    """Image tower and adapter; the tower's `output_dim` is the adapter's `encoder_width`."""

    clip: ClipVisionConfig = field(default_factory=ClipVisionConfig)
    qformer: QFormerConfig = field(default_factory=QFormerConfig)


class CognitiveEncoder(nn.Module):
    """The content of a picture as T_e tokens in the space of the text encoder."""

    def __init__(self, config: CognitiveEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.clip = ClipVision(config.clip)
        self.qformer = QFormer(config.qformer)

    def forward(self, pre_restored: Tensor) -> Tensor:
        """Pixels `(B, 3, H, W)` from the SRResNet, any size, not clamped → E `(B, T_e, C)`."""
        return self.qformer(self.clip(pre_restored))
