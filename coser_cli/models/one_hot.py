"""One-hot reference attention (CoSeR sec. 3.3) without the matrix of similarities.

For each query the value of the most similar key, times that similarity: no softmax, and no square
matrix, which at 4096 × 4096 tokens would be 64 MB per head. On a GPU it is one fused kernel
(`one_hot_triton`); elsewhere, for gradients, and where that kernel is not available, it is PyTorch
in chunks.

All forms take query `(B, heads, N, d)`, key and value `(B, heads, M, d)` of any strides and return
`(B, heads, N, d)` in the same number type. The similarity is q·k/√d and may be negative; M may be
the tokens of several references. Of equally similar keys the first is taken; a NaN similarity makes
the result of its query NaN.
"""

from __future__ import annotations

import math
import os
import warnings
from functools import cache

import torch
from torch import Tensor

from coser_cli.errors import CoserWarning

CPU_CHUNK_BYTES = 8 * 2**20
"""Similarities at a time on a CPU: they stay in its cache. 4 to 16 MB are equally fast."""
CHUNK_BYTES = 32 * 2**20
"""Similarities at a time elsewhere: few launches, and in total well below 64 MB."""
RUN = 64
"""Keys whose maximum is taken together when the first maximum of a row is looked for."""
KERNEL_TYPES = (torch.float16, torch.bfloat16, torch.float32)
MIN_CAPABILITY = (8, 0)
"""Least compute capability that Triton supports, for all of these number types."""
CHECKED_QUERIES = 64
"""Queries of the first call whose results by the kernel are compared with those in chunks."""

_given_up = False
"""Whether this process works without the kernel; there is one warning and one attempt."""
_checked: set[tuple[torch.device, torch.dtype, int]] = set()


def one_hot_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One-hot attention by the fastest form that is available; see the module.

    Warns once per process (`CoserWarning`) where a GPU cannot use the kernel. The two forms add in
    different orders: of keys that are equal but for rounding they may choose different ones.
    """
    if _kernel_is_for(query, key, value) and not _given_up:
        result = _fused(query, key, value)
        if result is not None:
            return result
    return chunked_one_hot_attention(query, key, value)


def chunked_one_hot_attention(
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


def _kernel_is_for(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether the kernel can compute this.

    `COSER_FUSED=0` switches it off, for a driver that crashes with it.
    """
    if os.environ.get("COSER_FUSED") == "0":
        return False
    differentiated = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    return query.is_cuda and query.dtype in KERNEL_TYPES and not differentiated


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
    """The kernel's result, or `None` after a warning: then it is not tried again."""
    global _given_up
    result, obstacle = None, _obstacle(query.device)
    if not obstacle:
        try:
            from coser_cli.models.one_hot_triton import fused_one_hot_attention

            result = fused_one_hot_attention(query, key, value)
            obstacle = _doubt(result, query, key, value)
        except torch.OutOfMemoryError:  # chunks would need more
            raise
        except (
            Exception
        ) as error:  # Triton and its compiler, driver and linker raise what they like
            obstacle = _one_line(error)
    if not obstacle:
        return result
    _given_up = True
    warnings.warn(
        f"the fused kernel of the reference attention cannot be used ({obstacle}); it is computed"
        " in chunks instead: as right, but slower",
        CoserWarning,
        stacklevel=3,
    )
    return None


@cache
def _obstacle(device: torch.device) -> str:
    """Why a device cannot run the kernel; empty if it can. AMD's versions are 9 and above."""
    capability = torch.cuda.get_device_capability(device)
    if capability >= MIN_CAPABILITY:
        return ""
    has, needs = (".".join(map(str, version)) for version in (capability, MIN_CAPABILITY))
    return f"it needs compute capability {needs}, this GPU has {has}"


def _doubt(result: Tensor, query: Tensor, key: Tensor, value: Tensor) -> str:
    """What is wrong with the kernel's first result of a kind; empty if nothing is.

    A few queries are also computed in chunks, once for each device, number type and head size.
    Nearly equal keys may be exchanged, so one query in eight may differ. Not checked where numbers
    are not finite, nor while a CUDA graph is recorded.
    """
    kind = (query.device, query.dtype, query.shape[-1])
    if kind in _checked or (query.is_cuda and torch.cuda.is_current_stream_capturing()):
        return ""
    few = query[:, :, :CHECKED_QUERIES]
    expected = chunked_one_hot_attention(few, key, value)
    scale = expected.abs().amax().item()
    if not math.isfinite(scale):
        return ""
    near = 0.02 * scale
    is_near = (result[:, :, :CHECKED_QUERIES] - expected).abs().amax(-1) <= near
    if is_near.float().mean().item() < 7 / 8:
        return "its results are wrong on this GPU"
    _checked.add(kind)
    return ""


def _one_line(error: Exception) -> str:
    """An exception as one line of at most 160 characters."""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= 160 else f"{words[:157]}..."
