"""The fused kernel of the one-hot reference attention, in Triton (Tillet et al., MAPL 2019).

A program holds a block of queries and walks over the keys in tiles. For every column of a tile it
keeps the best similarity so far and the tile it came from, so that nothing is reduced across
threads before the end; then come one reduction, one gather of values, and one store. Nothing of
the size queries × keys is ever written to memory. Import this module only where Triton is wanted:
it imports triton.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

HEAD_DIMS = range(1, 129)
"""Channels of a head that a program's registers and shared memory have room for."""


@dataclass(frozen=True)
class Tiles:
    """Queries of a program, keys of a tile (powers of two ≥ 16), warps, and tiles in flight."""

    queries: int
    keys: int
    warps: int
    stages: int


@triton.jit
def _compare(
    query: tl.tensor,
    key_at: tl.tensor,
    channels: tl.tensor,
    left: tl.tensor,
    tile: tl.tensor,
    best: tl.tensor,
    origin: tl.tensor,
    head_dim: tl.constexpr,
    padded: tl.constexpr,
    tile_keys: tl.constexpr,
    whole_tiles: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Best similarities and their tiles after one more tile, of which `left` keys are there."""
    keys = tl.arange(0, tile_keys)
    if whole_tiles and head_dim == padded:
        key = tl.load(key_at)
    else:
        inside = (channels < head_dim)[:, None] & (keys < left)[None, :]
        key = tl.load(key_at, mask=inside, other=0.0)
    # float32 inputs are not rounded to tf32: that would choose other keys.
    similarity = tl.dot(query, key, input_precision="ieee")
    if not whole_tiles:
        similarity = tl.where((keys < left)[None, :], similarity, float("-inf"))
    # Strictly greater: of equal ones the first stays. What is not a number stays, too.
    origin = tl.where(similarity > best, tile, origin)
    best = tl.maximum(best, similarity, propagate_nan=tl.PropagateNan.ALL)
    return best, origin


@triton.jit
def _first_best(
    best: tl.tensor, origin: tl.tensor, keys: tl.tensor, tile_keys: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Of each row of columns the best similarity, and its key as a 64-bit number."""
    unknown = tl.max((best != best).to(tl.int32), 1) > 0
    top = tl.where(unknown, float("nan"), tl.max(best, 1))
    # Of equal similarities in several columns the lowest key; without any, the first one.
    key = origin * tile_keys + tl.arange(0, tile_keys)[None, :]
    chosen = tl.min(tl.where(best == top[:, None], key, keys), 1)
    return top, tl.where(chosen < keys, chosen, 0).to(tl.int64)


@triton.jit
def _kernel(
    query_ptr: tl.tensor,
    key_ptr: tl.tensor,
    value_ptr: tl.tensor,
    out_ptr: tl.tensor,
    query_batch: tl.tensor,
    query_head: tl.tensor,
    query_row: tl.tensor,
    query_channel: tl.tensor,
    key_batch: tl.tensor,
    key_head: tl.tensor,
    key_row: tl.tensor,
    key_channel: tl.tensor,
    value_batch: tl.tensor,
    value_head: tl.tensor,
    value_row: tl.tensor,
    value_channel: tl.tensor,
    out_batch: tl.tensor,
    out_head: tl.tensor,
    out_row: tl.tensor,
    heads: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    scale: tl.tensor,
    head_dim: tl.constexpr,
    padded: tl.constexpr,
    block_queries: tl.constexpr,
    tile_keys: tl.constexpr,
    whole_tiles: tl.constexpr,
) -> None:
    """One block of queries of one head. Strides count elements; `padded` is a power of two."""
    # Offsets of batches, heads and rows pass 2^31 elements in large batches: 64 bits.
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    rows = tl.program_id(0) * block_queries + tl.arange(0, block_queries)
    channels = tl.arange(0, padded)
    inside = (rows < queries)[:, None] & (channels < head_dim)[None, :]
    row_at, column_at = rows.to(tl.int64)[:, None], channels[None, :]
    query_at = query_ptr + batch * query_batch + head * query_head
    query_at = query_at + row_at * query_row + column_at * query_channel
    query = tl.load(query_at, mask=inside, other=0.0)
    in_tile = tl.arange(0, tile_keys)
    key_at = key_ptr + batch * key_batch + head * key_head
    key_at = key_at + in_tile.to(tl.int64)[None, :] * key_row + channels[:, None] * key_channel
    best = tl.full((block_queries, tile_keys), float("-inf"), tl.float32)
    origin = tl.zeros((block_queries, tile_keys), tl.int32)
    for tile in range(0, tl.cdiv(keys, tile_keys)):
        left = keys - tile * tile_keys
        best, origin = _compare(
            query, key_at, channels, left, tile, best, origin,
            head_dim, padded, tile_keys, whole_tiles,
        )  # fmt: skip
        key_at += tile_keys * key_row
    top, chosen = _first_best(best, origin, keys, tile_keys)
    value_at = value_ptr + batch * value_batch + head * value_head
    value_at = value_at + chosen[:, None] * value_row + column_at * value_channel
    value = tl.load(value_at, mask=inside, other=0.0).to(tl.float32)
    result = value * (top * scale)[:, None]
    out_at = out_ptr + batch * out_batch + head * out_head + row_at * out_row + column_at
    tl.store(out_at, result.to(out_ptr.dtype.element_ty), mask=inside)


def tiles(dtype: torch.dtype, padded: int) -> Tiles:
    """How the work is cut. Chosen by what the assembler reports for compute capabilities 8.0 to
    12.0: at most 8 bytes of a thread outside its registers, 64 KB of shared memory, two programs
    at once on 9.0. Not yet timed on a GPU.
    """
    if dtype == torch.float32:  # no tensor cores: multiplied and added one by one
        return Tiles(64, 32, 8, 2)
    return Tiles(128, 64, 8, 3) if padded <= 64 else Tiles(128, 64, 8, 2)


def fused_one_hot_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`one_hot.one_hot_attention` by the kernel; no gradient.

    float16, bfloat16 or float32 throughout, any strides, `head_dim` in `HEAD_DIMS`. Similarities
    are accumulated in float32, and multiplied with the values before they are rounded. The result
    `(B, heads, N, d)` is laid out `(B, N, heads, d)`, so that heads are joined without a copy.
    Raises `ValueError` for other head sizes, and whatever Triton raises.
    """
    batch, heads, queries, head_dim = query.shape
    keys = key.shape[2]
    if head_dim not in HEAD_DIMS:
        raise ValueError(f"heads have {head_dim} channels, more than {HEAD_DIMS[-1]}")
    out = query.new_empty(batch, queries, heads, head_dim).transpose(1, 2)
    padded = max(16, triton.next_power_of_2(head_dim))
    cut = tiles(query.dtype, padded)
    grid = (triton.cdiv(queries, cut.queries), batch * heads)
    with torch.cuda.device_of(query):  # launches go to the current device, which may be another
        _kernel[grid](
            query, key, value, out,
            *query.stride(), *key.stride(), *value.stride(), *out.stride()[:3],
            heads, queries, keys, head_dim**-0.5, head_dim, padded,
            block_queries=cut.queries, tile_keys=cut.keys, whole_tiles=keys % cut.keys == 0,
            num_warps=cut.warps, num_stages=cut.stages,
        )  # fmt: skip
    return out
