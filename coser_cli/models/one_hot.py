"""One-hot reference attention (CoSeR sec. 3.3) without the matrix of similarities.

For each query the value of the most similar key, times that similarity: no softmax, and no square
matrix, which at 4096 × 4096 tokens would be 64 MB per head: a chunk of queries at a time.

It takes query `(B, heads, N, d)`, key and value `(B, heads, M, d)` of any strides and returns
`(B, heads, N, d)` in the same number type. The similarity is q·k/√d and may be negative; M may be
the tokens of several references. Of equally similar keys the first is taken; a NaN similarity makes
the result of its query NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

CPU_CHUNK_BYTES = 8 * 2**20
"""Similarities at a time on a CPU: they stay in its cache. 4 to 16 MB are equally fast."""
CHUNK_BYTES = 32 * 2**20
"""Similarities at a time elsewhere: few launches, and in total well below 64 MB."""
RUN = 64
"""Keys whose maximum is taken together when the first maximum of a row is looked for."""


def one_hot_attention(
    query: Tensor, key: Tensor, value: Tensor, limit: int | None = None
) -> Tensor:
    """One-hot attention in PyTorch: as many queries at a time as have `limit` bytes of
    similarities (default: `CPU_CHUNK_BYTES`, or `CHUNK_BYTES` on other devices).

    Gradients flow into all three, through the chosen entries only. Half precision is computed in
    float32, chunk by chunk, and rounded at the end.
    """
    if limit is None:
        limit = CPU_CHUNK_BYTES if query.device.type == "cpu" else CHUNK_BYTES
    heads, rows = _chunk_shape(query.shape[1], query.shape[2], key.shape[2], limit)
    results = []
    for of_query, of_key, of_value in zip(query, key, value, strict=True):
        parts = zip(of_query.split(heads), of_key.split(heads), of_value.split(heads), strict=True)
        results.append(torch.cat([_some_heads(*part, rows) for part in parts]))
    return torch.stack(results)


def _chunk_shape(heads: int, queries: int, keys: int, limit: int) -> tuple[int, int]:
    """Heads and queries at a time: several whole heads, or a part of one."""
    rows = min(queries, max(1, limit // (4 * keys)))
    return max(1, min(heads, limit // (4 * keys * queries))), rows


def _some_heads(query: Tensor, key: Tensor, value: Tensor, rows: int) -> Tensor:
    """`(heads, N, d)` and twice `(heads, M, d)` → `(heads, N, d)`, `rows` queries at a time."""
    with torch.no_grad():
        columns = _wide(key).transpose(1, 2)
        space = columns.new_empty(len(query) * min(rows, query.shape[1]) * key.shape[1])
    chunks = [_chunk(part, key, value, columns, space) for part in query.split(rows, dim=1)]
    return torch.cat(chunks, dim=1)


def _chunk(query: Tensor, key: Tensor, value: Tensor, columns: Tensor, space: Tensor) -> Tensor:
    """Some queries `(heads, n, d)` against all keys, whose similarities fill `space`."""
    with torch.no_grad():
        shape = (*query.shape[:2], key.shape[1])
        similarity = space[: shape[0] * shape[1] * shape[2]].view(shape)
        torch.bmm(_wide(query), columns, out=similarity)  # new memory takes longer than the product
        index = _first_maximum(similarity).unsqueeze(-1)
        best = similarity.gather(2, index)
    index = index.expand(-1, -1, key.shape[2])
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad):
        best = (_wide(query) * _wide(key.gather(1, index))).sum(-1, keepdim=True)
    return (value.gather(1, index) * (best * query.shape[-1] ** -0.5)).to(value.dtype)


def _first_maximum(x: Tensor) -> Tensor:
    """`x.argmax(-1)`, with vector instructions: the maximum of runs, then the place in the first
    best run. Torch's own is not vectorised on a CPU and takes seven times as long.
    """
    if x.device.type != "cpu" or x.shape[-1] % RUN:
        return x.argmax(-1)
    runs = x.unflatten(-1, (-1, RUN))
    run = runs.amax(-1).argmax(-1, keepdim=True)
    inside = runs.gather(-2, run.unsqueeze(-1).expand(*run.shape, RUN)).squeeze(-2)
    return run.squeeze(-1) * RUN + inside.argmax(-1)


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
