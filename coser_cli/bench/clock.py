"""Seconds and peak memory of what runs, on CPUs and accelerators."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


OnProgress = Callable[[str], None]
"""Called with what is being measured, in words."""


def silent(words: str) -> None:
    """Print nothing."""


@dataclass(frozen=True)
class Timing:
    """Seconds of the repetitions, in their order."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.runs)

    @property
    def least(self) -> float:
        """What a repetition takes when nothing else disturbs."""
        return min(self.runs)


class Timestamps:
    """Points in time on one device; taking one does not wait for a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._points: list[Any] = []

    def take(self) -> None:
        """The time at which the device's work, as far as it has been asked for, ends."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._points.append(event)
        else:
            synchronise(self._device)
            self._points.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Seconds between neighbouring timestamps; waits until the last one is reached."""
        synchronise(self._device)
        pairs = zip(self._points, self._points[1:], strict=False)
        if self._cuda:
            return [first.elapsed_time(second) / 1000 for first, second in pairs]
        return [second - first for first, second in pairs]


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done all that it was asked for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def time_of(
    run: Callable[[], object], device: torch.device, repeat: int, warmup: int = 1
) -> Timing:
    """Seconds of `repeat` calls of `run`, each waited for, after `warmup` untimed ones."""
    for _ in range(warmup):
        run()
    runs = []
    for _ in range(repeat):
        synchronise(device)
        began = time.perf_counter()
        run()
        synchronise(device)
        runs.append(time.perf_counter() - began)
    return Timing(tuple(runs))


def reset_peak(device: torch.device) -> None:
    """Begin to watch the memory of `device`; see `peak_bytes`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu":
        with suppress(OSError):
            _CLEAR.write_text("5", encoding="ascii")  # proc(5): resets the peak resident set size


def peak_bytes(device: torch.device) -> int | None:
    """The most bytes taken at once since `reset_peak`: of CUDA what tensors hold (weights and all),
    of a CPU the whole process as far as it is resident (Linux only); None where it is not known.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "cpu":
        with suppress(OSError):
            match = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
            return int(match[1]) * 1024 if match else None
    return None
