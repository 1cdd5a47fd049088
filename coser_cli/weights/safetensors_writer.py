"""A safetensors file written tensor by tensor, hashed on the way.

The format: eight bytes with the length of the header, the header as JSON, then the tensors' bytes
without gaps. The header needs shapes only, so no more than one tensor is in memory at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from coser_cli.errors import WeightsError

OnBytes = Callable[[int], None]
"""Told how many bytes have been written since the last call."""

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ALIGNMENT = 8


@dataclass(frozen=True)
class Written:
    """Size in bytes and SHA-256 of a file, both of what was written."""

    bytes: int
    sha256: str


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    on_bytes: OnBytes | None = None,
) -> Written:
    """Write all tensors, in the order of their names, floating ones as `dtype` (None: as stored).

    The same tensors give the same bytes. On disk when this returns (fsync). Raises OSError where
    it cannot be written, WeightsError where a number is too large for `dtype`.
    """
    digest, total = hashlib.sha256(), 0
    with path.open("xb") as stream:
        for data in _blocks(tensors, sorted(tensors), dtype):
            stream.write(data)
            digest.update(data)
            total += len(data)
            if on_bytes is not None:
                on_bytes(len(data))
        stream.flush()
        os.fsync(stream.fileno())
    return Written(total, digest.hexdigest())


def _blocks(
    tensors: Mapping[str, Tensor], names: list[str], dtype: torch.dtype | None
) -> Iterator[bytes | memoryview]:
    yield _header(tensors, names, dtype)
    for name in names:
        yield _bytes(name, tensors[name], dtype)


def _stored_dtype(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def _header(tensors: Mapping[str, Tensor], names: list[str], dtype: torch.dtype | None) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name in names:
        tensor = tensors[name]
        stored = _stored_dtype(tensor, dtype)
        end = place + tensor.numel() * stored.itemsize
        shape = list(tensor.shape)
        entries[name] = {"dtype": DTYPES[stored], "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes(name: str, tensor: Tensor, dtype: torch.dtype | None) -> memoryview:
    """The numbers of one tensor as they go into the file."""
    cast = tensor.to(_stored_dtype(tensor, dtype))
    if cast.dtype == torch.float16 != tensor.dtype and not bool(cast.isfinite().all()):
        raise WeightsError(
            f"{name} has numbers that float16 cannot hold", "choose float32 for the weights"
        )
    return cast.contiguous().reshape(-1).view(torch.uint8).numpy().data
