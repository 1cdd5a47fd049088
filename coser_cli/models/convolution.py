"""Convolutions with what follows them: an activation, or a sum; on CPUs in one pass.

oneDNN, which torch's convolutions on x86 and ARM are made by, applies both while a result is still
in the cache. torch offers that as operators that its compiler uses (`torch.ops.mkldnn`); where they
are missing or do not fit (gradients, other devices and number types), the same is done in steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


@dataclass(frozen=True)
class Activation:
    """A function of single values: as torch has it, and by oneDNN's name and numbers."""

    function: Callable[[Tensor], Tensor]
    name: str
    scalars: tuple[float, ...] = ()


RELU = Activation(F.relu, "relu")
SILU = Activation(F.silu, "swish")


def leaky(slope: float) -> Activation:
    """Leaky ReLU."""
    return Activation(partial(F.leaky_relu, negative_slope=slope), "leaky_relu", (slope,))


def activated(module: nn.Conv2d, x: Tensor, activation: Activation) -> Tensor:
    """`activation` of the convolution of `x` `(B, C, H, W)`."""
    if not _fuses(module, x):
        return activation.function(module(x))
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, *_geometry(module), activation.name, list(activation.scalars), ""
    )
    return result


def added(module: nn.Conv2d, x: Tensor, summand: Tensor) -> Tensor:
    """`summand`, which has the shape of the result, plus the convolution of `x`."""
    if not _fuses(module, x) or summand.dtype is not x.dtype:
        return summand + module(x)
    result: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
        x, summand, *_geometry(module), "add", 1.0, None, [], None
    )
    return result


def _geometry(module: nn.Conv2d) -> tuple[Any, ...]:
    size = module.padding, module.stride, module.dilation
    return module.weight, module.bias, *size, module.groups


def _fuses(module: nn.Conv2d, x: Tensor) -> bool:
    """Whether oneDNN may do it: it knows no gradients, and neither torch's compiler, which fuses by
    itself, nor what watches single operators, such as a counter of them, would see the parts; and
    weights that come only while the layer's own `forward` runs are not there."""
    fuses: bool = (
        x.device.type == module.weight.device.type == "cpu"
        and x.dtype is module.weight.dtype
        and _is_offered()
        and _is_computed_in(x.dtype)
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not is_in_torch_dispatch_mode()
        and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    )
    return fuses


@cache
def _is_computed_in(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes in that number type here; torch itself has slower ways."""
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


@cache
def _is_offered() -> bool:
    """Whether this torch has the operators, and they work."""
    try:
        weight, x = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
        fused = torch.ops.mkldnn._convolution_pointwise
        size = weight, None, (0, 0), (1, 1), (1, 1), 1
        with torch.inference_mode():
            leaked = fused(-x, *size, "leaky_relu", [0.5], "")
            summed = fused.binary(x, x, *size, "add", 1.0, None, [], None)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return leaked.item() == -0.5 and summed.item() == 2
