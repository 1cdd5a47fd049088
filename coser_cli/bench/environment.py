"""On what was measured: without this a number of seconds says nothing."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from coser_cli.version import __version__, installed_version

PACKAGES = ("torch", "diffusers", "open_clip_torch", "numpy")


@dataclass(frozen=True)
class Environment:
    """Device, number type and versions; `device_name` is that of the chip that computes.

    `capability` is the widest instruction set that torch uses on a CPU, or the compute capability
    of a CUDA device; `threads` are torch's on the CPU.
    """

    coser: str
    python: str
    platform: str
    packages: dict[str, str | None]
    device: str
    device_name: str
    capability: str
    dtype: str
    threads: int


def environment_of(device: torch.device, dtype: torch.dtype) -> Environment:
    """The environment of whatever runs on `device` in `dtype`."""
    is_cuda = device.type == "cuda"
    return Environment(
        coser=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: installed_version(name) for name in PACKAGES},
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if is_cuda else _cpu_name(),
        capability=(
            ".".join(map(str, torch.cuda.get_device_capability(device)))
            if is_cuda
            else torch.backends.cpu.get_cpu_capability()
        ),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
    )


def _cpu_name() -> str:
    """The CPU's name by Linux, else the machine's kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
