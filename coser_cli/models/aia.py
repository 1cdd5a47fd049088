"""All-in-Attention (CoSeR sec. 3.3): a transformer block that also attends to the reference image
and to the low-resolution image, through the feature maps of the ControlNet.

Order inside the block, each with its residual: one-hot reference attention, low-resolution
attention, attentions to further conditions (such as edges), then the plain block. All but the last
end in zero-initialised projections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.models.attention import Attention, match_batch, to_tokens
from coser_cli.models.one_hot import one_hot_attention
from coser_cli.models.resnet import group_norm
from coser_cli.models.transformer import (
    Branches,
    PreparedContext,
    SpatialTransformer,
    TransformerBlock,
)

ControlMaps = Mapping[str, Tensor]
"""Control maps of one place by the name of their condition. "low_res" is always present;
"reference" holds those of N references; others are those of `UNetConfig.conditions`.
"""
Tokens = Mapping[str, Tensor]
"""Control tokens `(B, L, dim)` by the name of their condition."""
PLACES = 24
"""Channels of the position encoding of a token."""


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


class ConditionAttention(nn.Module):
    """Attention of tokens `(B, L, dim)` to one further condition; its output starts as zero.

    The condition's picture shows the same place, so a token attends first to the control token of
    its own position: sines of rows and columns are appended to queries and keys (as in Vaswani et
    al. 2017, sec. 3.5), and their product is largest where both are equal. Its `sharpness` is
    learned.
    """

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = Attention(dim, dim // head_dim, head_dim)
        self.sharpness = nn.Parameter(torch.full((dim // head_dim, 1, 1), 2.0))
        self.out = zero_linear(dim)

    def forward(self, tokens: Tensor, control: Tensor) -> Tensor:
        """`control` `(B, L, dim + PLACES)` as `ConditionTokens` gives it."""
        control, places = control[..., :-PLACES], control[:1, :, -PLACES:]
        query, (key, value) = self.attn.query(self.norm(tokens)), self.attn.key_value(control)
        scale = query.shape[-1] ** -0.5
        near = (places * self.sharpness / scale).expand(*query.shape[:3], PLACES)
        query = torch.cat((query, near.to(query)), -1)
        key = torch.cat((key, places.expand(*key.shape[:3], PLACES).to(key)), -1)
        key, value = (match_batch(each, query.shape[0]) for each in (key, value))
        attended = F.scaled_dot_product_attention(query, key, value, scale=scale)
        added: Tensor = self.out(self.attn.merge(attended))
        return added


def places_of(height: int, width: int, like: Tensor) -> Tensor:
    """Position encoding `(height·width, PLACES)`: sines and cosines of rows and columns, periods
    from 4 tokens.
    """
    rates = torch.pi / 2 * 0.5 ** torch.arange(PLACES // 4, device=like.device)
    angles = [torch.arange(n, device=like.device)[:, None] * rates for n in (height, width)]
    rows, columns = (torch.cat((each.sin(), each.cos()), -1) for each in angles)
    rows, columns = rows[:, None].expand(-1, width, -1), columns.expand(height, -1, -1)
    return torch.cat((rows, columns), -1).flatten(0, 1).to(like)


class ConditionTokens(nn.Module):
    """Control map of one further condition `(B, control_dim, H, W)` → tokens `(B, H·W, dim +
    PLACES)`, the last of which are their positions."""

    def __init__(self, dim: int, groups: int, control_dim: int) -> None:
        super().__init__()
        self.widen = _widen(control_dim, dim) if control_dim != dim else nn.Identity()
        self.norm = group_norm(groups, dim, 1e-6)
        self.proj = nn.Linear(dim, dim)

    def forward(self, maps: Tensor) -> Tensor:
        tokens: Tensor = self.proj(to_tokens(self.norm(self.widen(maps))))
        places = places_of(maps.shape[-2], maps.shape[-1], tokens)
        return torch.cat((tokens, places.expand(len(tokens), -1, -1)), -1)


class AiABlock(TransformerBlock):
    """Transformer block with the attentions to controls before the others.

    Tokens `(B, L, dim)` → `(branches·B, L, dim)`; control tokens as in `attend_controls`. Without
    them it is the plain block.
    """

    def __init__(
        self, dim: int, head_dim: int, context_dim: int, conditions: Sequence[str] = ()
    ) -> None:
        super().__init__(dim, head_dim, context_dim)
        heads = dim // head_dim
        self.reference_attn = OneHotAttention(dim, heads, head_dim)
        self.reference_out = zero_linear(dim)
        self.low_res_norm = nn.LayerNorm(dim)
        self.low_res_attn = Attention(dim, heads, head_dim)
        self.low_res_out = zero_linear(dim)
        self.condition_attns = nn.ModuleDict(
            {name: ConditionAttention(dim, head_dim) for name in conditions}
        )

    def attend_controls(
        self, tokens: Tensor, controls: Tokens, weights: Tensor | None = None
    ) -> Tensor:
        """Tokens `(branches·B, L, dim)` after the attentions to what is in `controls`: tokens
        `(B, L, dim)`, `(B, M, dim)` for "reference". The reference attention sees the controls
        only: one result for all branches. `weights` as in `Controls`.
        """
        low_res, reference = controls["low_res"], controls.get("reference")
        if reference is not None:
            change = self.reference_out(self.reference_attn(low_res, reference))
            change = change if weights is None else weights[1] * change
            tokens = tokens + match_batch(change, tokens.shape[0])
        key, value = self.low_res_attn.key_value(low_res)
        attended = self.low_res_attn.attend(self.low_res_norm(tokens), key, value)
        change = self.low_res_out(attended)
        tokens = tokens + (change if weights is None else weights[0] * change)
        for name, attention in self.condition_attns.items():
            if name in controls:
                tokens = tokens + attention(tokens, controls[name])
        return tokens

    def forward(
        self,
        tokens: Tensor,
        branches: Branches,
        batch: int,
        controls: Tokens | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        if controls is not None:
            tokens = self.attend_controls(tokens, controls, weights)
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
        conditions: Sequence[str] = (),
    ) -> None:
        self.conditions = tuple(conditions)
        super().__init__(dim, head_dim, context_dim, groups)
        self.low_res_norm = group_norm(groups, dim, 1e-6)
        self.low_res_proj = nn.Linear(dim, dim)
        self.reference_norm = group_norm(groups, dim, 1e-6)
        self.reference_proj = nn.Linear(dim, dim) if project_reference else nn.Identity()
        widen = control_dim != dim
        self.low_res_widen = _widen(control_dim, dim) if widen else nn.Identity()
        self.reference_widen = _widen(control_dim, dim) if widen else nn.Identity()
        self.condition_tokens = nn.ModuleDict(
            {name: ConditionTokens(dim, groups, control_dim) for name in conditions}
        )

    @property
    def block(self) -> AiABlock:
        """The block between the projections."""
        return cast("AiABlock", self.transformer_blocks[0])

    def make_block(self, dim: int, head_dim: int, context_dim: int) -> AiABlock:
        return AiABlock(dim, head_dim, context_dim, self.conditions)

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
        weights: Tensor | None = None,
    ) -> Tensor:
        branches = context.layers[self.context_index]
        tokens = None if controls is None else self.control_tokens(controls)
        return self.leave(self.block(self.enter(x), branches, batch, tokens, weights), x)

    def control_tokens(self, controls: ControlMaps) -> Tokens:
        """The tokens of all maps that are present."""
        maps = controls["low_res"]
        tokens = {"low_res": self.low_res_tokens(maps)}
        if "reference" in controls:
            tokens["reference"] = self.reference_tokens(controls["reference"], maps.shape[0])
        for name, condition in self.condition_tokens.items():
            if name in controls:
                tokens[name] = condition(controls[name])
        return tokens


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
    for name in transformer.conditions:
        initialise_condition(transformer, name)


@torch.no_grad()
def initialise_condition(transformer: AiATransformer, name: str) -> None:
    """Start a further condition's layers from those of the low-resolution image, which see maps of
    the same ControlNet; its last projection stays zero.
    """
    attention = cast("ConditionAttention", transformer.block.condition_attns[name])
    tokens = cast("ConditionTokens", transformer.condition_tokens[name])
    pairs: tuple[tuple[nn.Module, nn.Module], ...] = (
        (attention.norm, transformer.block.low_res_norm),
        (attention.attn, transformer.block.low_res_attn),
        (tokens.widen, transformer.low_res_widen),
        (tokens.norm, transformer.low_res_norm),
        (tokens.proj, transformer.low_res_proj),
    )
    for new, base in pairs:
        new.load_state_dict(base.state_dict())


def is_aia_parameter(name: str) -> bool:
    """Whether a parameter of the U-Net belongs to the All-in-Attention, not to the base."""
    own = ("low_res_", "reference_", "condition_")
    return any(part.startswith(own) for part in name.split("."))


def is_condition_parameter(name: str, condition: str) -> bool:
    """Whether a parameter of the U-Net belongs to that further condition."""
    return any(f".{kind}.{condition}." in name for kind in ("condition_attns", "condition_tokens"))
