"""On which device and in which number type to compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from coser_cli.errors import DeviceError

_FLOAT16, _BFLOAT16 = (7, 0), (8, 0)
"""The first compute capabilities whose tensor cores take these."""


def choose_device(name: str) -> torch.device:
    """The device called `name` ("auto": cuda, else mps, else cpu). Raises `DeviceError`."""
    if name == "auto":
        usable = (kind for kind in ("cuda", "mps") if _usable(kind))
        return torch.device(next(usable, "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"there is no device {name!r}", "use auto, cuda, mps or cpu") from None
    if not _usable(device.type) or (device.index or 0) >= max(_count(device.type), 1):
        raise DeviceError(
            f"the device {name} cannot be used here: {_reason(device.type)}",
            "use --device cpu, or auto",
        )
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the diffusion networks; "auto" is the smallest that the device computes in by
    itself, bfloat16 before float16, else float32.

    On CPUs that is bfloat16 with AVX512-BF16 or AMX instructions: `mini` then takes 0.85 of the CPU
    time, its start included, and differs by three levels of 255 at most (three photos).
    """
    if name == "auto":
        if _has_bfloat16(device):
            return torch.bfloat16
        if device.type != "cuda":
            return torch.float32
        return torch.float16 if _capability(device) >= _FLOAT16 else torch.float32
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise DeviceError(f"there is no dtype {name!r}", "use auto, float32, bfloat16 or float16")
    return dtype


def dtype_note(name: str, dtype: torch.dtype, device: torch.device) -> str:
    """A line on what the device lacks for the dtype that was asked for; "" if nothing."""
    if device.type != "cuda" or _has_bfloat16(device):
        return ""
    if name == "auto":
        chosen = str(dtype).removeprefix("torch.")
        return f"{device} has no bfloat16: networks compute in {chosen}"
    if dtype == torch.bfloat16:
        return f"{device} only imitates bfloat16: --dtype float16 is faster"
    return ""


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Within it, convolutions in float32 are that on CUDA, too: cuDNN's default rounds their inputs
    to 10 bits (TF32), which a picture of 16 bits would show.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a CPU, CUDA or ROCm device computes in bfloat16 by itself."""
    if device.type == "cpu":
        # older releases of torch cannot say; instructions of ARM CPUs were not tried
        capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    if device.type != "cuda":
        return False
    return torch.version.hip is not None or _capability(device) >= _BFLOAT16


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _usable(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def _reason(kind: str) -> str:
    if kind == "cuda" and not torch.backends.cuda.is_built():
        return "this torch was built without CUDA"
    return "torch does not find it"
