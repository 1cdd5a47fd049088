"""Several devices of one machine: a process with a model of its own for each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from coser_cli.batch.jobs import Job
from coser_cli.batch.load import Load, loader
from coser_cli.batch.pipeline import run_in_process
from coser_cli.batch.request import Work
from coser_cli.batch.workers.dispatch import Lost, Outcome
from coser_cli.errors import CoserError, warn_in_one_line

END_TIMEOUT = 10.0
"""Seconds that a process has to end when it is asked to."""


class DeviceCrew:
    """One process per device; see `dispatch.Crew`."""

    def __init__(self, devices: Sequence[str], work: Work) -> None:
        self._members = [Member(_serve, device, work) for device in devices]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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
        member = next(member for member in self._members if not member.busy)
        member.hand(share, [job for _, job in share])

    def wait(self) -> Iterable[tuple[int, Outcome]]:
        busy = {member.connection: member for member in self._members if member.busy}
        return [outcome for each in wait(list(busy)) for outcome in busy[each].receive()]  # type: ignore[index, arg-type]


class Member:
    """A process that runs `target` with its end of a connection and `arguments`, started when first
    needed, and again where it died. It is sent shares of jobs, and sends their outcomes in order.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self._target, self._arguments = target, arguments
        self._share: list[int] = []
        self.process: BaseProcess | None = None
        self.connection: Connection | None = None

    @property
    def busy(self) -> bool:
        return bool(self._share)

    def hand(self, share: Sequence[tuple[int, Job]], message: object) -> None:
        """Send the message that asks for these jobs."""
        self._share = [index for index, _ in share]
        if self.connection is None:
            self.start()
        assert self.connection is not None
        with suppress(OSError):  # it died while it was idle, which `receive` finds
            self.connection.send(message)

    def receive(self) -> list[tuple[int, Outcome]]:
        """What it has sent; all that it still had, where it has died."""
        assert self.connection is not None
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            code = self._dead()
            lost, self._share = self._share, []
            return [(index, Lost(f"process ended with {code}")) for index in lost]
        return self.outcomes(message)

    def outcomes(self, message: Any) -> list[tuple[int, Outcome]]:
        """What a message says of jobs: the outcome of the next one, or what ends the run."""
        if isinstance(message, CoserError):
            index, self._share = self._share[0], []
            return [(index, message)]
        return [(self._share.pop(0), message)]

    def end(self) -> None:
        """Kill it: its files are complete or not there."""
        if self.process is None:
            return
        self.process.terminate()
        self.process.join(END_TIMEOUT)
        if self.process.is_alive():
            self.process.kill()
        self._dead()

    def start(self) -> None:
        # a fork would share the state of threads and of CUDA
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = theirs, *self._arguments
        self.process = context.Process(target=self._target, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def _dead(self) -> int | None:
        assert self.process is not None and self.connection is not None
        self.connection.close()
        self.process.join(END_TIMEOUT)
        code = self.process.exitcode
        self.process = self.connection = None
        return code


def _serve(connection: Connection, device: str, work: Work) -> None:
    """The loop of a process: shares of jobs in, outcomes out, one by one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, and so leaves no part files
    warn_in_one_line()
    load = loader(replace(work.request.compute, device=device))
    while True:
        try:
            jobs: list[Job] = connection.recv()
        except (EOFError, OSError):
            return
        _run_jobs(connection, jobs, load, work)


def _run_jobs(connection: Connection, jobs: list[Job], load: Load, work: Work) -> None:
    try:
        for result in run_in_process(jobs, load, work):
            connection.send(result)
    except CoserError as error:
        connection.send(error)
    except (BrokenPipeError, ConnectionResetError):  # nobody listens any more
        os._exit(1)
