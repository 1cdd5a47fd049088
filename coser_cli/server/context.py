"""What of a client's process its jobs are done under: folder, umask, environment, cores."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from coser_cli.server.protocol import Context

READ_AT_START = (
    *("ACCELERATE", "ATEN", "BLIS", "CUBLAS", "CUDA", "CUDNN", "DNNL", "DYLD", "GLIBC", "GOMP"),
    *("GOTO", "HIP", "HSA", "KMP", "LANG", "LC_", "LD_", "MALLOC", "MIOPEN", "MKL", "NCCL"),
    *("NUMEXPR", "NVIDIA", "OMP", "ONEDNN", "OPENBLAS", "PYTHON", "PYTORCH", "ROCR", "TORCH"),
    *("TRITON", "VECLIB", "VIPS"),
)
"""Beginnings of the names of variables that libraries read once, when they are loaded."""


def own_context() -> Context:
    """Of this process. Raises OSError where its folder is gone."""
    umask = os.umask(0o077)
    os.umask(umask)
    folder = os.getcwd()
    return Context(folder, _places(folder), umask, dict(os.environ), _cores())


def sees_the_same(context: Context) -> bool:
    """Whether the client's folder is the same one here; not so in another container."""
    try:
        return _places(context.folder) == context.places
    except OSError:
        return False


def _places(folder: str) -> tuple[tuple[int, int], ...]:
    return tuple((each.st_dev, each.st_ino) for each in (os.stat(folder), os.stat("/")))


def _cores() -> tuple[int, ...]:
    """The cores that this process may use, where the system tells."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def read_at_start(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables that a process must have been started with, in order."""
    return tuple(
        sorted(
            (name, value) for name, value in environment.items() if name.startswith(READ_AT_START)
        )
    )


@contextmanager
def inherited(context: Context) -> Iterator[None]:
    """Processes that start in this block start under the client's environment and cores."""
    before, cores = dict(os.environ), _cores()
    try:
        _use_environment(context.environment)
        _use_cores(context.cores)
        yield
    finally:
        _use_environment(before)
        _use_cores(cores)


def adopt(context: Context) -> None:
    """From now on work as the client would. Raises OSError where its folder is gone."""
    os.chdir(context.folder)
    os.umask(context.umask)
    _use_environment(context.environment)
    tempfile.tempdir = None  # it goes by the environment, once
    time.tzset()


def _use_environment(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _use_cores(cores: tuple[int, ...]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
