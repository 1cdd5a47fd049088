"""Inputs of one-hot attention that are hard in some way, and its definition."""

from typing import NamedTuple

import torch


class Case(NamedTuple):
    batch: int
    heads: int
    queries: int
    head_dim: int
    keys: int
    kind: str = "plain"


CASES = [
    Case(1, 2, 128, 64, 128),
    Case(2, 2, 130, 48, 200),  # more than a block, less than a tile, padded channels
    Case(1, 2, 60, 40, 3 * 60),  # three references
    Case(1, 1, 1, 16, 1),
    Case(1, 1, 7, 8, 5),
    Case(1, 1, 33, 128, 129),
    Case(1, 2, 50, 16, 150, "ties"),
    Case(2, 2, 20, 64, 300, "copies"),
    Case(1, 2, 70, 48, 90, "negative"),
    Case(1, 2, 70, 48, 90, "strided"),
    Case(1, 2, 20, 32, 100, "nan"),
]


def inputs(case, dtype, device="cpu"):
    """Query, key and value as the network has them: `(B, L, heads·d)`, split and transposed."""
    generator = torch.Generator().manual_seed(sum(case[:5]))

    def split(length):
        x = torch.randn(case.batch, length, case.heads * case.head_dim, generator=generator)
        return x.to(device, dtype).unflatten(2, (case.heads, -1)).transpose(1, 2)

    query, key, value = split(case.queries), split(case.keys), split(case.keys)
    if case.kind == "ties":
        query, key = query.round().clamp(-1, 1), key.round().clamp(-1, 1)
    elif case.kind == "copies":
        key, value = (x[:, :, : case.keys // 3].repeat(1, 1, 3, 1) for x in (key, value))
    elif case.kind == "negative":
        query, key = query.abs(), -key.abs()
    elif case.kind == "strided":
        query, key, value = (x.repeat_interleave(2, 3)[..., ::2] for x in (query, key, value))
    elif case.kind == "nan":
        key[0, 0, case.keys // 2, 1] = float("nan")
    return query, key, value


def plain_one_hot_attention(query, key, value):
    """The definition, with the whole matrix of similarities, in float32 at least."""
    wide = torch.promote_types(query.dtype, torch.float32)
    similarity = query.to(wide) @ key.to(wide).transpose(2, 3) * query.shape[-1] ** -0.5
    best, index = similarity.max(dim=-1, keepdim=True)
    chosen = value.gather(2, index.expand(*index.shape[:-1], value.shape[-1]))
    return (chosen * best).to(value.dtype)


def agreement(found, expected):
    """Share of queries with equal results but for rounding. Another key would differ by far."""
    near = {torch.float32: 1e-5}.get(expected.dtype, 2 * torch.finfo(expected.dtype).eps)
    found, expected = found.double(), expected.double()
    scale = expected.nan_to_num().abs().amax(-1, keepdim=True)
    alike = (found - expected).abs() <= near * scale
    alike |= found.isnan() & expected.isnan()
    return alike.all(-1).double().mean().item()
