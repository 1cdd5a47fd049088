"""Multi-head attention as every network here uses it, and the moves between maps and tokens.

Parameter names (`to_q`, `to_k`, `to_v`, `to_out.0`) are those of diffusers and of the published
checkpoints alike.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

KeyValue = tuple[Tensor, Tensor]


def to_tokens(maps: Tensor) -> Tensor:
    """`(B, C, H, W)` → `(B, H·W, C)`; free of copies for channels-last maps."""
    batch, channels, height, width = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(batch, height * width, channels)


def to_maps(tokens: Tensor, height: int, width: int) -> Tensor:
    """`(B, H·W, C)` → `(B, C, H, W)`, in channels-last memory order."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def match_batch(x: Tensor, batch: int) -> Tensor:
    """Repeat `x` along its first axis until it holds `batch` entries; branch-major, so that entry
    b of every branch is entry b of `x`.
    """
    if x.shape[0] in (batch, 1):
        return x.expand(batch, *x.shape[1:])
    return x.repeat(batch // x.shape[0], *[1] * (x.dim() - 1))


class Attention(nn.Module):
    """Softmax attention with `heads` heads of `head_dim` channels.

    `context_dim` is the width of the key and value tokens (default: that of the queries).
    """

    def __init__(
        self,
        query_dim: int,
        heads: int,
        head_dim: int,
        context_dim: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        inner, context_dim = heads * head_dim, context_dim or query_dim
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=bias)
        self.to_k = nn.Linear(context_dim, inner, bias=bias)
        self.to_v = nn.Linear(context_dim, inner, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim)])

    def split(self, tokens: Tensor) -> Tensor:
        """`(B, L, heads·d)` → `(B, heads, L, d)`."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def query(self, tokens: Tensor) -> Tensor:
        """Queries `(B, heads, L, d)` of tokens `(B, L, C)`."""
        return self.split(self.to_q(tokens))

    def key_value(self, tokens: Tensor) -> KeyValue:
        """Keys and values, `(B, heads, L, d)` each, of tokens `(B, L, C)`."""
        return self.split(self.to_k(tokens)), self.split(self.to_v(tokens))

    def merge(self, heads: Tensor) -> Tensor:
        """`(B, heads, L, d)` → output tokens `(B, L, C)`, projected."""
        return self.to_out[0](heads.transpose(1, 2).flatten(2))

    def attend(self, tokens: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of tokens `(B, L, C)` over prepared keys and values of B entries, or of a
        divisor of B, which then serve every branch.
        """
        batch = tokens.shape[0]
        key, value = match_batch(key, batch), match_batch(value, batch)
        return self.merge(F.scaled_dot_product_attention(self.query(tokens), key, value))

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """Attention of tokens `(B, L, C)` over `context` `(B, M, C')`, or over themselves."""
        return self.attend(tokens, *self.key_value(tokens if context is None else context))
