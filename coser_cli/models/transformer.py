"""The U-Net's plain transformer: self-attention, cross-attention to the context, feed-forward.

Guidance branches (contexts of different lengths) share one call. The state keeps the batch of the
latents until the first cross-attention, where the branches part; from there it is branch-major:
branch 0's entries first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.models.attention import Attention, KeyValue, match_batch, to_maps, to_tokens
from coser_cli.models.resnet import group_norm

Branches = tuple[KeyValue, ...]


@dataclass(frozen=True)
class PreparedContext:
    """Keys and values of every cross-attention: `layers[attention][branch]`.

    They depend on the text and the cognitive embedding only, so one serves all steps of an image.
    """

    layers: tuple[Branches, ...]

    @property
    def branches(self) -> int:
        """How many guidance branches one call computes."""
        return len(self.layers[0])

    def beside(self, other: PreparedContext) -> PreparedContext:
        """The branches of both, this one first."""
        pairs = zip(self.layers, other.layers, strict=True)
        return PreparedContext(tuple(mine + theirs for mine, theirs in pairs))


class CrossAttention(Attention):
    """Attention over one context per guidance branch."""

    def over_branches(self, tokens: Tensor, branches: Branches, batch: int) -> Tensor:
        """Tokens `(batch, L, C)`, equal in all branches, or `(branches·batch, L, C)`, each over its
        branch's keys and values → `(branches·batch, L, C)`.
        """
        query = self.query(tokens)
        shared = query.shape[0] == batch
        queries = [query] * len(branches) if shared else query.split(batch)
        attended = [
            F.scaled_dot_product_attention(q, match_batch(k, batch), match_batch(v, batch))
            for q, (k, v) in zip(queries, branches, strict=True)
        ]
        return self.merge(torch.cat(attended))


class FeedForward(nn.Module):
    """Two linear layers, the first gated by GELU (Shazeer 2020, "GEGLU"); diffusers' names."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GatedGelu(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, tokens: Tensor) -> Tensor:
        for layer in self.net:
            tokens = layer(tokens)
        return tokens


class GatedGelu(nn.Module):
    """Tokens `(B, L, in)` → `(B, L, out)`: a linear layer times the GELU of another."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, 2 * out_channels)

    def forward(self, tokens: Tensor) -> Tensor:
        values, gate = self.proj(tokens).chunk(2, dim=-1)
        gated: Tensor = values * F.gelu(gate)
        return gated


class TransformerBlock(nn.Module):
    """Pre-norm block on tokens `(B, L, dim)`: self-attention, cross-attention, GEGLU."""

    def __init__(self, dim: int, head_dim: int, context_dim: int) -> None:
        super().__init__()
        heads = dim // head_dim
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads, head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = CrossAttention(dim, heads, head_dim, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, tokens: Tensor, branches: Branches, batch: int) -> Tensor:
        tokens = tokens + self.attn1(self.norm1(tokens))
        attended = self.attn2.over_branches(self.norm2(tokens), branches, batch)
        tokens = match_batch(tokens, attended.shape[0]) + attended
        return tokens + self.ff(self.norm3(tokens))


class SpatialTransformer(nn.Module):
    """A transformer block on the positions of a map, between linear projections.

    `context_index` is the place of its cross-attention in a `PreparedContext`; the network that
    owns it sets it.
    """

    def __init__(self, dim: int, head_dim: int, context_dim: int, groups: int) -> None:
        super().__init__()
        self.context_index = 0
        self.norm = group_norm(groups, dim, 1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.ModuleList([self.make_block(dim, head_dim, context_dim)])
        self.proj_out = nn.Linear(dim, dim)

    @property
    def block(self) -> TransformerBlock:
        """The block between the projections."""
        return cast("TransformerBlock", self.transformer_blocks[0])

    def make_block(self, dim: int, head_dim: int, context_dim: int) -> TransformerBlock:
        """A new block of the kind that this transformer holds."""
        return TransformerBlock(dim, head_dim, context_dim)

    def enter(self, x: Tensor) -> Tensor:
        """Map `(B, dim, H, W)` → tokens of the block."""
        return self.proj_in(to_tokens(self.norm(x)))

    def leave(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Tokens of the block → map `(B, dim, H, W)`, added to the map `x` that entered, which is
        repeated where the guidance branches have parted.
        """
        maps = to_maps(self.proj_out(tokens), *x.shape[-2:])
        return match_batch(x, maps.shape[0]) + maps

    def forward(self, x: Tensor, context: PreparedContext, batch: int) -> Tensor:
        branches = context.layers[self.context_index]
        return self.leave(self.block(self.enter(x), branches, batch), x)


def number_transformers(transformers: Iterable[SpatialTransformer]) -> None:
    """Give each its place in the `PreparedContext`."""
    for index, transformer in enumerate(transformers):
        transformer.context_index = index


def prepare_context(
    transformers: Iterable[SpatialTransformer], contexts: Sequence[Tensor]
) -> PreparedContext:
    """Keys and values for contexts `(B, L, context_dim)`, one per guidance branch; the lengths may
    differ.
    """
    attentions = [transformer.block.attn2 for transformer in transformers]
    return PreparedContext(tuple(tuple(a.key_value(c) for c in contexts) for a in attentions))
