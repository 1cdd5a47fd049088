"""Several devices of one machine: a process with a model of its own for each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TYPE_CHECKING, Self

from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Work
from coser_cli.batch.run import run
from coser_cli.batch.workers.dispatch import Lost, Outcome
from coser_cli.errors import CoserError, UsageError, warn_in_one_line

if TYPE_CHECKING:
    from coser_cli.engine.upscaler import Upscaler

PATIENCE = 10.0
"""Seconds that a process has to end in, when it is told to."""


@dataclass(frozen=True)
class Loading:
    """What `Upscaler.load` is told, wherever it is called."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "auto"
    low_memory: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    def __call__(self) -> Upscaler:
        """The loaded model."""
        from coser_cli.engine.upscaler import Upscaler

        return Upscaler.load(
            self.model,
            device=self.device,
            dtype=self.dtype,
            offload=self.offload,
            low_memory=self.low_memory,
            compile=self.compile,
            cuda_graphs=self.cuda_graphs,
        )


def parse_devices(text: str) -> list[str]:
    """Names in a list like `cuda:0,cuda:1`; one that comes twice gets two workers.

    Raises `UsageError` for an empty one.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--devices {text!r} names no device somewhere", "as in cuda:0,cuda:1")
    return names


class DeviceCrew:
    """One process per device; see `dispatch.Crew`."""

    def __init__(self, loadings: Sequence[Loading], work: Work) -> None:
        self._members = [_Member(loading, work) for loading in loadings]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self._members:
            member.end()

    @property
    def size(self) -> int:
        return len(self._members)

    @property
    def idle(self) -> int:
        return sum(not member.busy for member in self._members)

    @property
    def processes(self) -> list[int]:
        """Their numbers, of those that run."""
        return [each.process.pid for each in self._members if each.process and each.process.pid]

    def hand(self, share: Sequence[tuple[int, Job]]) -> None:
        next(member for member in self._members if not member.busy).hand(share)

    def wait(self) -> Iterable[tuple[int, Outcome]]:
        busy = {member.connection: member for member in self._members if member.busy}
        return [found for each in wait(list(busy)) for found in busy[each].receive()]  # type: ignore[index, arg-type]


class _Member:
    """One device's process, started when first needed, and again where it died."""

    def __init__(self, loading: Loading, work: Work) -> None:
        self._loading, self._work = loading, work
        self._share: list[int] = []
        self.process: BaseProcess | None = None
        self.connection: Connection | None = None

    @property
    def busy(self) -> bool:
        return bool(self._share)

    def hand(self, share: Sequence[tuple[int, Job]]) -> None:
        self._share = [index for index, _ in share]
        if self.connection is None:
            self._start()
        assert self.connection is not None
        with suppress(OSError):  # it died while it was idle, which `receive` finds
            self.connection.send([job for _, job in share])

    def receive(self) -> list[tuple[int, Outcome]]:
        """What it has sent; all that it still had, where it has died."""
        assert self.connection is not None
        try:
            outcome: Outcome = self.connection.recv()
        except (EOFError, OSError):
            code = self._dead()
            lost, self._share = self._share, []
            return [(index, Lost(f"process ended with {code}")) for index in lost]
        if isinstance(outcome, CoserError):
            index, self._share = self._share[0], []
            return [(index, outcome)]
        return [(self._share.pop(0), outcome)]

    def end(self) -> None:
        """Now, whatever it does: what it writes is complete or not there."""
        if self.process is None:
            return
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
        self._dead()

    def _start(self) -> None:
        # a fork would share the state of threads and of CUDA
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = theirs, self._loading, self._work
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def _dead(self) -> int | None:
        assert self.process is not None and self.connection is not None
        self.connection.close()
        self.process.join(PATIENCE)
        code = self.process.exitcode
        self.process = self.connection = None
        return code


def _serve(connection: Connection, loading: Loading, work: Work) -> None:
    """The life of a process: shares of jobs in, outcomes out, one by one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, and so leaves no part files
    warn_in_one_line()
    load = once(loading)
    while True:
        try:
            jobs: list[Job] = connection.recv()
        except (EOFError, OSError):
            return
        _work_off(connection, jobs, load, work)


def _work_off(
    connection: Connection, jobs: list[Job], load: Callable[[], Upscaler], work: Work
) -> None:
    try:
        for result in run(jobs, load, work):
            connection.send(result)
    except CoserError as error:
        connection.send(error)
    except (BrokenPipeError, ConnectionResetError):  # nobody is left to tell
        os._exit(1)


def once(load: Callable[[], Upscaler]) -> Callable[[], Upscaler]:
    """`load`, called at most once."""
    loaded: list[Upscaler] = []

    def get() -> Upscaler:
        if not loaded:
            loaded.append(load())
        return loaded[0]

    return get
