"""CLIP's towers from open_clip: all image tokens, and the text tokens of the penultimate layer.

The tokens are computed here from the towers' parts, as the output of open_clip's own forward
changed between its releases (spec sec. 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.config import ClipTextConfig, ClipVisionConfig
from coser_cli.lean_open_clip import import_towers

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class ClipVision(nn.Module):
    """Image tower: every token, class token first, without `ln_post`, projected."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = import_towers().VisionTransformer(
            image_size=config.image_size,
            patch_size=config.patch_size,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            output_dim=config.output_dim,
        )
        self.visual.ln_post = nn.Identity()

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels `(B, 3, H, W)` normalised by CLIP's mean and deviation."""
        mean, std = (torch.tensor(c, dtype=pixels.dtype, device=pixels.device) for c in (MEAN, STD))
        return (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    def prepare(self, pixels: Tensor) -> Tensor:
        """Pixels `(B, 3, H, W)`, nominally [0, 1], → the tower's input: squashed to its square by
        bicubic interpolation without antialiasing, not clamped, normalised.
        """
        size = (self.config.image_size, self.config.image_size)
        resized = F.interpolate(pixels, size, mode="bicubic", align_corners=False)
        return self.normalise(resized)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens `(B, 1 + patches, output_dim)` of pixels `(B, 3, H, W)` of any size."""
        tower = self.visual
        patches = tower.conv1(self.prepare(pixels)).flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat((first, patches), dim=1) + tower.positional_embedding.to(patches.dtype)
        return tower.transformer(tower.ln_pre(tokens)) @ tower.proj


class ClipText(nn.Module):
    """Text tower without its last block: tokens after the final norm, not projected."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = import_towers().TextTransformer(
            context_length=config.context_length,
            vocab_size=config.vocab_size,
            width=config.width,
            heads=config.heads,
            layers=config.layers - 1,
            proj_type="none",
            # the causal mask is made per call: as a buffer it would not survive meta loading
            no_causal_mask=True,
        )

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids `(B, context_length)`; longer prompts are cut, the end token is kept."""
        tokens: Tensor = _tokenizer(self.config.context_length)(list(prompts))
        return tokens.to(self.tower.positional_embedding.device)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """States `(B, L, width)` of token ids `(B, L)`, L at most the context length."""
        length, tower = tokens.shape[1], self.tower
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        mask = torch.full((length, length), float("-inf"), dtype=x.dtype, device=x.device)
        return tower.ln_final(tower.transformer(x, attn_mask=mask.triu(1)))

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """States `(B, context_length, width)` of prompts."""
        return self.encode_tokens(self.tokenize(prompts))


@cache
def _tokenizer(context_length: int) -> Any:
    """open_clip's tokenizer: it takes half a second to make."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length)


def token_lengths(tokens: Tensor) -> Tensor:
    """Number of tokens up to and with the end token, `(B,)`; it has the largest id."""
    return tokens.argmax(dim=-1) + 1
