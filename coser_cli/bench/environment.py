"""On what was measured: without this a number of seconds says nothing."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from coser_cli.version import __version__

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
    return Environment(
        coser=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: _version_of(name) for name in PACKAGES},
        device=str(device),
        device_name=_name_of(device),
        capability=_capability_of(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
    )


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def _cpu_name() -> str:
    """The CPU's name by Linux, else the machine's kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _capability_of(device: torch.device) -> str:
    if device.type == "cuda":
        return ".".join(map(str, torch.cuda.get_device_capability(device)))
    return torch.backends.cpu.get_cpu_capability()


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
