"""Inputs of one-hot attention that are hard in some way, and the kernel run on all of them by
Triton's interpreter: `report`, for a process of its own, since TRITON_INTERPRET counts when triton
is first imported.
"""

import json
import os
from typing import NamedTuple

import torch

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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


def repair_bfloat16():
    """The interpreter keeps bfloat16 as 16-bit integers and multiplies these in `tl.dot`."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    dot = InterpreterBuilder.create_dot

    def widened(x):
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def repaired(self, a, b, *rest):
        return dot(self, widened(a), widened(b), *rest)

    InterpreterBuilder.create_dot = repaired


def report():
    """Print the agreement of the kernel with the definition as JSON, by case and number type."""
    os.environ["TRITON_INTERPRET"] = "1"
    from coser_cli.models.one_hot_triton import fused_one_hot_attention

    repair_bfloat16()
    shares = {}
    for name, dtype in TYPES.items():
        for case in CASES:
            tensors = inputs(case, dtype)
            found, expected = fused_one_hot_attention(*tensors), plain_one_hot_attention(*tensors)
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            assert found.transpose(1, 2).is_contiguous()
            shares[f"{name} {case}"] = agreement(found, expected)
    print(json.dumps(shares))


def compiled():
    """Print what Triton's compilers make of the kernel, as JSON: bytes of the machine's code, of
    shared memory, and of what did not fit the registers, by compute capability and number type.
    """
    import re

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from coser_cli.models import one_hot_triton

    kernel, made = one_hot_triton._kernel, {}
    for capability, name, head_dim in (
        (80, "fp32", 48),
        (90, "bf16", 64),
        (100, "bf16", 64),
    ):
        dtype = torch.float32 if name == "fp32" else torch.float16
        cut = one_hot_triton.tiles(dtype, 64)
        fixed = {
            "head_dim": head_dim,
            "padded": 64,
            "block_queries": cut.queries,
            "tile_keys": cut.keys,
            "whole_tiles": capability != 80,
        }
        fixed |= {f"{x}_channel": 1 for x in ("query", "key", "value")}
        signature = dict.fromkeys(kernel.arg_names, "i32") | {"scale": "fp32"}
        signature |= {x: f"*{name}" for x in kernel.arg_names if x.endswith("_ptr")}
        signature |= dict.fromkeys(fixed, "constexpr")
        aligned = {
            (i,): [["tt.divisibility", 16]]
            for i, x in enumerate(kernel.arg_names)
            if x not in fixed and x not in ("scale", "heads", "queries", "keys")
        }
        result = triton.compile(
            ASTSource(fn=kernel, signature=signature, constexprs=fixed, attrs=aligned),
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": cut.warps, "num_stages": cut.stages},
        )
        ptx = result.asm["ptx"]
        made[f"{capability} {name}"] = {
            "code": len(result.asm["cubin"]),
            "shared": result.metadata.shared,
            "products": sorted(set(re.findall(r"wgmma\.mma_async|tcgen05\.mma|mma\.sync", ptx))),
        }
    print(json.dumps(made))
