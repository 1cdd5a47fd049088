"""When two ways to compute the same have computed the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coser_cli.models.step import leaves

TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Relative distance up to which two ways to compute one step in a number type are the same. What is
wrong is off by far more; what rounds otherwise by less, the jumps of the one-hot attention between
equally similar places among it."""


def agree(found: Any, expected: Any) -> bool:
    """Whether two trees of tensors, the second of them finite, are the same but for rounding: each
    tensor by itself."""
    pairs = zip(leaves(found), leaves(expected), strict=True)
    return all(_same(one, other) for one, other in pairs)


def _same(found: Tensor, expected: Tensor) -> bool:
    distance = (found.float() - expected.float()).norm()
    limit = TOLERANCE.get(expected.dtype, 1e-3) * expected.float().norm()
    return found.shape == expected.shape and bool(distance <= limit)  # not so for what is no number


def is_finite(found: Any) -> bool:
    """Whether there is something to compare with."""
    return all(bool(leaf.isfinite().all()) for leaf in leaves(found))
