"""All-in-Attention (CoSeR sec. 3.3): a transformer block that also attends to the reference image
and to the low-resolution image, through the feature maps of the ControlNet.

Order inside the block, each with its residual: one-hot reference attention, low-resolution
attention, then the plain block. The first two end in zero-initialised projections.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from coser_cli.models.attention import Attention, match_batch, to_tokens
from coser_cli.models.one_hot import one_hot_attention
from coser_cli.models.resnet import group_norm
from coser_cli.models.transformer import (
    Branches,
    PreparedContext,
    SpatialTransformer,
    TransformerBlock,
)

ControlMaps = tuple[Tensor, Tensor | None, Tensor | None]
"""Maps of the low-resolution image, of the references or None, and the weights of the attentions to
them, `(2,)`; None: both are 1."""


class OneHotAttention(Attention):
    """`one_hot_attention` between projections; parameter names as any attention here."""

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        key, value = self.key_value(tokens if context is None else context)
        return self.merge(one_hot_attention(self.query(tokens), key, value))


def zero_linear(dim: int) -> nn.Linear:
    """A linear layer that starts as zero (the published 1×1 zero convolution on tokens)."""
    linear = nn.Linear(dim, dim)
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    return linear


class AiABlock(TransformerBlock):
    """Transformer block with reference and low-resolution attention before the others.

    Tokens `(B, L, dim)` → `(branches·B, L, dim)`; control tokens as in `attend_controls`. Without
    low-resolution tokens it is the plain block.
    """

    def __init__(self, dim: int, head_dim: int, context_dim: int) -> None:
        super().__init__(dim, head_dim, context_dim)
        heads = dim // head_dim
        self.reference_attn = OneHotAttention(dim, heads, head_dim)
        self.reference_out = zero_linear(dim)
        self.low_res_norm = nn.LayerNorm(dim)
        self.low_res_attn = Attention(dim, heads, head_dim)
        self.low_res_out = zero_linear(dim)

    def attend_controls(
        self,
        tokens: Tensor,
        low_res: Tensor,
        reference: Tensor | None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Tokens `(branches·B, L, dim)` after both attentions, control tokens `(B, L, dim)` and
        `(B, M, dim)`. The reference attention sees the controls only: one result for all
        branches.
        """
        if reference is not None:
            change = self.reference_out(self.reference_attn(low_res, reference))
            change = change if weights is None else weights[1] * change
            tokens = tokens + match_batch(change, tokens.shape[0])
        key, value = self.low_res_attn.key_value(low_res)
        attended = self.low_res_attn.attend(self.low_res_norm(tokens), key, value)
        change = self.low_res_out(attended)
        return tokens + (change if weights is None else weights[0] * change)

    def forward(
        self,
        tokens: Tensor,
        branches: Branches,
        batch: int,
        low_res: Tensor | None = None,
        reference: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        if low_res is not None:
            tokens = self.attend_controls(tokens, low_res, reference, weights)
        return super().forward(tokens, branches, batch)


class AiATransformer(SpatialTransformer):
    """Spatial transformer around an `AiABlock`.

    `control_dim` is the width of the control maps; where it is not `dim` a 3×3 convolution widens
    them first. `project_reference`: the paper projects the reference tokens too, the published
    weights were trained without.
    """

    def __init__(
        self,
        dim: int,
        head_dim: int,
        context_dim: int,
        groups: int,
        control_dim: int,
        project_reference: bool = False,
    ) -> None:
        super().__init__(dim, head_dim, context_dim, groups)
        self.low_res_norm = group_norm(groups, dim, 1e-6)
        self.low_res_proj = nn.Linear(dim, dim)
        self.reference_norm = group_norm(groups, dim, 1e-6)
        self.reference_proj = nn.Linear(dim, dim) if project_reference else nn.Identity()
        widen = control_dim != dim
        self.low_res_widen = _widen(control_dim, dim) if widen else nn.Identity()
        self.reference_widen = _widen(control_dim, dim) if widen else nn.Identity()

    @property
    def block(self) -> AiABlock:
        """The block between the projections."""
        return cast("AiABlock", self.transformer_blocks[0])

    def make_block(self, dim: int, head_dim: int, context_dim: int) -> AiABlock:
        return AiABlock(dim, head_dim, context_dim)

    def low_res_tokens(self, maps: Tensor) -> Tensor:
        """Control map `(B, control_dim, H, W)` → tokens `(B, H·W, dim)`."""
        return self.low_res_proj(to_tokens(self.low_res_norm(self.low_res_widen(maps))))

    def reference_tokens(self, maps: Tensor, batch: int) -> Tensor:
        """Control maps `(N·batch, control_dim, H, W)` of N references, reference-major → the tokens
        of all of them, `(batch, N·H·W, dim)`.
        """
        tokens = to_tokens(self.reference_norm(self.reference_widen(maps)))
        tokens = self.reference_proj(tokens).unflatten(0, (-1, batch))
        return tokens.transpose(0, 1).flatten(1, 2)

    def forward(
        self,
        x: Tensor,
        context: PreparedContext,
        batch: int,
        controls: ControlMaps | None = None,
    ) -> Tensor:
        branches = context.layers[self.context_index]
        low_res = reference = weights = None
        if controls is not None:
            low_res_maps, reference_maps, weights = controls
            low_res = self.low_res_tokens(low_res_maps)
            if reference_maps is not None:
                reference = self.reference_tokens(reference_maps, low_res_maps.shape[0])
        tokens = self.block(self.enter(x), branches, batch, low_res, reference, weights)
        return self.leave(tokens, x)


def _widen(control_dim: int, dim: int) -> nn.Conv2d:
    return nn.Conv2d(control_dim, dim, 3, padding=1)


@torch.no_grad()
def initialise_from_base(transformer: AiATransformer) -> None:
    """Start the new layers from the base: attentions and norms from the self-attention and its
    norm, projections from `proj_in`; what is zero stays zero.
    """
    block = transformer.block
    pairs: tuple[tuple[nn.Module, nn.Module], ...] = (
        (transformer.low_res_norm, transformer.norm),
        (transformer.reference_norm, transformer.norm),
        (transformer.low_res_proj, transformer.proj_in),
        (transformer.reference_proj, transformer.proj_in),
        (block.low_res_norm, block.norm1),
        (block.low_res_attn, block.attn1),
        (block.reference_attn, block.attn1),
    )
    for new, base in pairs:
        if not isinstance(new, nn.Identity):
            new.load_state_dict(base.state_dict())
