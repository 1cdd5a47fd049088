"""Retries: smaller batches where memory does not suffice, float32 where a result is not finite."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from coser_cli.errors import DeviceError

Item = TypeVar("Item")
Result = TypeVar("Result")
Values = TypeVar("Values", Tensor, tuple[Tensor, ...])

REMEDY = "use --low-memory, a smaller scale, or cut the picture into parts"
_TEXTS = (
    "DefaultCPUAllocator",  # torch on a CPU
    "not enough memory",  # the same on Windows
    "MPS backend out of memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "ALLOC_FAILED",  # cuBLAS and cuDNN
    "bad_alloc",
)
"""What plain RuntimeErrors say where there is no class for running out of memory."""


class NotFiniteError(DeviceError):
    """A result that is infinite or not a number somewhere: the dtype's range was exceeded."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the memory of a GPU or of the computer did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def reason_of(error: Exception) -> str:
    """The first line of an error's message."""
    if is_out_of_memory(error):
        return "the memory does not suffice"
    first = next(iter(str(error).strip().splitlines()), "") or "no reason given"
    return f"{type(error).__name__}, {first[:160].rstrip('.: ')}"


def free_cache(device: torch.device) -> None:
    """Free reference cycles, and the memory that torch and the C library cache."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif sys.platform == "linux":
        # glibc holds on to freed blocks under 32 MB: gigabytes of them after a large network
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def with_smaller_batches(
    run: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    batch: int,
    on_shrink: Callable[[int], None] = lambda batch: None,
    *,
    device: torch.device | None = None,
    what: str = "item",
) -> list[Result]:
    """Results of `items`, in order, by calls of `run` on `batch` of them at a time.

    Where the memory of `device` does not suffice, the failed batch is retried in halves, and the
    rest goes on with the smaller size, which `on_shrink` gets for later calls. Finished items are
    not repeated. Raises DeviceError, named after `what`, where even a single item does not fit.
    """
    results: list[Result] = []
    while len(results) < len(items):
        chosen = items[len(results) : len(results) + batch]
        finished = _unless_out_of_memory(run, chosen)
        if finished is not None:
            results += finished
            continue
        # here the error is gone, and with it the frames that held the tensors of the attempt
        free_cache(device or torch.device("cpu"))
        if len(chosen) == 1:
            where = f" of {device.type}" if device else ""
            raise DeviceError(f"the memory{where} does not suffice for one {what}", REMEDY)
        batch = len(chosen) // 2
        on_shrink(batch)
    return results


def _unless_out_of_memory(
    run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]
) -> list[Result] | None:
    try:
        return run(items)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def require_finite(
    values: Values, redo: Callable[[], Values] | None = None, what: str = "result"
) -> Values:
    """`values` if all are finite, else the result of `redo`, once, in float32.

    Raises NotFiniteError, named after `what`, without `redo` or where that is not finite either.
    """
    if _is_finite(values):
        return values
    if redo is not None:
        return require_finite(redo(), None, what)
    raise NotFiniteError(
        f"the networks' {what} is infinite or not a number somewhere", "use --dtype float32"
    )


def _is_finite(values: Tensor | tuple[Tensor, ...]) -> bool:
    tensors = (values,) if isinstance(values, Tensor) else values
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
