"""Seconds and peak memory of what runs, on CPUs and accelerators."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
        """What a repetition usually takes."""
        return median(self.runs)

    @property
    def least(self) -> float:
        """What it takes when nothing else disturbs."""
        return min(self.runs)


class Marks:
    """Points in time on one device; setting one does not wait for an accelerator."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._points: list[Any] = []

    def set(self) -> None:
        """Mark where the device's work, as far as it has been asked for, will have ended."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._points.append(event)
        else:
            synchronise(self._device)
            self._points.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Seconds between neighbouring marks; waits until the last one is reached."""
        synchronise(self._device)
        pairs = zip(self._points, self._points[1:], strict=False)
        if self._cuda:
            return [first.elapsed_time(second) / 1000 for first, second in pairs]
        return [second - first for first, second in pairs]


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def time_of(
    run: Callable[[], object], device: torch.device, repeat: int, warmup: int = 1
) -> Timing:
    """Seconds of `repeat` calls of `run`, each waited for, after `warmup` untimed ones."""
    for _ in range(warmup):
        run()
    return Timing(tuple(_seconds(run, device) for _ in range(repeat)))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    synchronise(device)
    began = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - began


@dataclass
class Peak:
    """The most bytes taken at once while it was watched; None where that cannot be known."""

    bytes: int | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch the memory of `device`: of CUDA what tensors hold (weights and all), of a CPU the whole
    process as far as it is resident (Linux only).
    """
    peak = Peak()
    _reset(device)
    yield peak
    peak.bytes = _highest(device)


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu":
        with suppress(OSError):
            _CLEAR.write_text("5", encoding="ascii")  # proc(5): resets the peak resident set size


def _highest(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "cpu":
        with suppress(OSError):
            match = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
            return int(match[1]) * 1024 if match else None
    return None
