"""How much memory there is, what a picture takes, and how networks share it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from coser_cli.engine.compute.retry import REMEDY, is_out_of_memory
from coser_cli.errors import DeviceError, UsageError
from coser_cli.models.residency import STAGES, peak
from coser_cli.settings import OFFLOADS
from coser_cli.size import PartSize, Size, size_to_work_at, srresnet_passes, working_scale

if TYPE_CHECKING:
    from coser_cli.config import ModelConfig

MAPS_AT_ONCE = 6
"""How many maps of its widest level the decoder holds at its peak (measured: 4 to 6)."""
SRRESNET_MAPS = 4
"""The same for the SRResNet at its output's size (measured: 3.8)."""
PIXEL_BYTES = 4 * 3 * 6
"""Float32 pictures of the result's size: enlargement, result, colour fix."""
PROCESS_BYTES = 450 * 2**20
"""Interpreter and libraries (measured on Linux: 0.40 GB)."""
HEADROOM = 4 * 2**30
"""Bytes that should stay free for maps beside the weights; for smaller models, the size of their
weights again.
"""
_CGROUP_LIMIT, _CGROUP_USED = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"


def available_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on `device`; None where that cannot be known."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    known = [bytes_ for bytes_ in (_linux_memory(), _cgroup_memory()) if bytes_ is not None]
    return min(known, default=None)


def choose_offload(
    name: str, sizes: Mapping[str, PartSize], device: torch.device
) -> tuple[str, str]:
    """How the networks share the device's memory, and a message ("" where nothing is given up).

    "auto" is "none" where all weights (`sizes` by part) leave `HEADROOM` of the free memory,
    "model" where those of every single stage do, else "sequential". Raises UsageError.
    """
    if name not in OFFLOADS:
        raise UsageError(f"there is no offload {name!r}", f"use {', '.join(OFFLOADS)}")
    free = available_memory(device)
    if name != "auto" or free is None:
        return name.replace("auto", "none"), ""
    for offload in ("none", "model"):
        weights = peak(sizes, offload, STAGES)
        if weights + min(weights, HEADROOM) <= free:
            break
    else:
        offload = "sequential"
    total = peak(sizes, "none", STAGES)
    note = f"the weights take {gib(total)} GiB, {gib(free)} are free on {device.type}"
    return offload, "" if offload == "none" else f"{note}: --offload {offload}"


def needed_memory(
    config: ModelConfig,
    size: Size,
    scale: float,
    dtype: torch.dtype,
    weights: int = 0,
    pictures: int = 1,
) -> int:
    """Estimated peak in bytes for a picture of `size`, or for `pictures` of that size at once, with
    `weights` bytes of weights still to be loaded.

    The widest maps decide: those of the decoder at its finest levels, or of the SRResNet. A decoder
    that folds squares of pixels into channels has smaller finest maps.
    """
    target = size.scaled(scale)
    work = size_to_work_at(config, size, scale)
    widths = config.autoencoder.block_out_channels
    # enlarging brings the next level's channels along to the finer resolution
    finest = max(widths[0], widths[min(1, len(widths) - 1)])
    cells = work.area // config.autoencoder.patch_size**2
    decoder = cells * finest * MAPS_AT_ONCE * dtype.itemsize
    light = config.autoencoder.light
    if light is not None:  # its finest maps have the size of the picture
        own = work.area * light.width * MAPS_AT_ONCE * dtype.itemsize
        decoder = max(decoder, own)
    srresnet = 0
    if config.low_res_source == "srresnet":
        each = config.pass_scale
        passes = srresnet_passes(working_scale(target, work, scale), each)
        grown = size.area * each ** (2 * passes)
        shuffles = config.srresnet.upsampling == "pixel_shuffle"
        channels = config.srresnet.num_feat if shuffles else config.srresnet.up_feat
        srresnet = grown * channels * SRRESNET_MAPS * dtype.itemsize
        if config.pass_memory is not None:  # in tiles: its results alone are large
            srresnet = grown * 3 * 2 * dtype.itemsize + config.pass_memory
    return pictures * (max(decoder, srresnet) + work.area * PIXEL_BYTES) + weights


def require_memory(
    config: ModelConfig,
    size: Size,
    scale: float,
    dtype: torch.dtype,
    device: torch.device,
    weights: int = 0,
    pictures: int = 1,
) -> None:
    """Raise `DeviceError` before minutes of work where the picture, or so many of them at once,
    cannot fit, beside `weights` bytes that have yet to be loaded."""
    available = available_memory(device)
    needed = needed_memory(config, size, scale, dtype, weights, pictures)
    if available is None or needed <= available:
        return
    raise DeviceError(
        f"{size} to {size.scaled(scale)} pixels needs about {gib(needed)} GiB of memory, "
        f"{gib(available)} are free on {device.type}",
        REMEDY,
    )


@contextmanager
def memory_errors_named(device: torch.device) -> Iterator[None]:
    """Turn torch's out-of-memory errors into a `DeviceError`: the estimate can be too low."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"the memory of {device.type} does not suffice", REMEDY) from error


def gib(amount: int) -> str:
    """An amount of bytes in GiB, in words."""
    return f"{amount / 2**30:.1f}"


def _linux_memory() -> int | None:
    """MemAvailable, where there is a /proc."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    entry = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return int(entry.split()[1]) * 1024 if entry else None


def _cgroup_memory() -> int | None:
    """What a container's limit leaves, where there is one."""
    if not os.path.exists(_CGROUP_LIMIT):
        return None
    try:
        limit, used = (Path(p).read_text(encoding="ascii") for p in (_CGROUP_LIMIT, _CGROUP_USED))
    except OSError:
        return None
    return max(int(limit) - int(used), 0) if limit.strip().isdigit() else None
