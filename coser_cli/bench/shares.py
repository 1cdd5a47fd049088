"""What the time of one restoration step is spent on, by kinds of operators (torch's profiler)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from coser_cli.bench.clock import synchronise

KINDS: dict[str, tuple[str, ...]] = {
    "convolution": ("conv",),
    "attention": ("attention", "softmax", "::bmm", "::baddbmm", "::max", "::gather", "one_hot"),
    "linear": ("::addmm", "::mm", "linear", "_scaled_mm"),
    "norm": ("norm",),
    "elementwise": ("::add", "::mul", "::div", "::sub", "silu", "gelu", "::exp", "::sin", "::cos"),
    "memory": ("copy", "::cat", "::clone", "::contiguous", "index", "repeat", "upsample", "::fill"),
}
"""Kinds of operators, each with parts of their names; the first that fits counts. Batched matrix
products and the search for the largest similarity occur in attention only."""
OTHER, IDLE = "other", "idle"


@dataclass(frozen=True)
class Share:
    """A kind of operator: its seconds in one step, and its part of the step's.

    `idle` is what passes between kernels of a CUDA device while it waits for the next launch.
    """

    kind: str
    seconds: float
    fraction: float


def kind_of(operator: str) -> str:
    """The kind that an operator's name (`aten::add`) belongs to."""
    fitting = (kind for kind, parts in KINDS.items() if any(part in operator for part in parts))
    return next(fitting, OTHER)


def measure_shares(run: Callable[[], object], device: torch.device, warmup: int = 1) -> list[Share]:
    """Shares of one call of `run`, the largest first, after `warmup` calls.

    On a CPU they are those of the time in operators, on a CUDA device of the time from the first
    kernel to the end of the last.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells stderr when it begins and ends
    for _ in range(warmup):
        run()
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    synchronise(device)
    with profile(activities=activities, acc_events=True) as profiler:
        run()
        synchronise(device)
    seconds = seconds_by_kind(
        (each.key, each.self_device_time_total if cuda else each.self_cpu_time_total)
        for each in profiler.key_averages()
    )
    if cuda:
        spans = [(e.time_range.start, e.time_range.end) for e in profiler.events() if _is_kernel(e)]
        busy = sum(end - start for start, end in spans) / 1e6
        # kernels that no operator of torch has launched
        seconds[OTHER] = seconds.get(OTHER, 0.0) + max(0.0, busy - sum(seconds.values()))
        seconds[IDLE] = idle_seconds(spans)
    total = sum(seconds.values())
    shares = [Share(kind, each, each / total) for kind, each in seconds.items() if each]
    return sorted(shares, key=lambda share: -share.seconds)


def seconds_by_kind(operators: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Of operators' names and own microseconds: the seconds of each kind. What is no operator (a
    kernel by its own name, the profiler itself) is passed by.
    """
    seconds: dict[str, float] = {}
    for name, microseconds in operators:
        if "::" in name:
            kind = kind_of(name)
            seconds[kind] = seconds.get(kind, 0.0) + microseconds / 1e6
    return seconds


def _is_kernel(event: Any) -> bool:
    return str(event.device_type).endswith("CUDA")


def idle_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Of spans in microseconds: the seconds between the first start and the last end that none of
    them covers."""
    idle, reached = 0.0, None
    for start, end in sorted(spans):
        if reached is not None:
            idle += max(0.0, start - reached)
        reached = end if reached is None else max(reached, end)
    return idle / 1e6
