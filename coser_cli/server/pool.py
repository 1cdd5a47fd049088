"""The processes that hold models: one for each model, device and way to compute."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from coser_cli.batch.jobs import Job
from coser_cli.batch.results import Result
from coser_cli.batch.workers.dispatch import Outcome
from coser_cli.batch.workers.processes import END_TIMEOUT, Member
from coser_cli.errors import CoserError
from coser_cli.server.context import inherited, read_at_start
from coser_cli.server.memory import resident_memory
from coser_cli.server.protocol import LoadedModel, Run
from coser_cli.server.turns import Turns
from coser_cli.server.worker import Cancel, Share, ShareEnded, compute_of, run_worker
from coser_cli.settings import Compute

Listener = Callable[[object], None]
_starting = threading.Lock()
"""Held while this process has the environment that another is to start with."""


class BusyError(Exception):
    """As many models as may be are in use."""


@dataclass(frozen=True)
class Kind:
    """What a run needs of the process that does it."""

    compute: Compute
    environment: tuple[tuple[str, str], ...]
    cores: tuple[int, ...]


def kind_of(run: Run) -> Kind:
    """What this run needs."""
    return Kind(compute_of(run), read_at_start(run.context.environment), run.context.cores)


class WarmMember(Member):
    """A process that keeps a model for clients that come one after another."""

    def __init__(self) -> None:
        super().__init__(run_worker)
        self._numbers = itertools.count()
        self._number: int | None = None
        self._listener: Listener = _ignore

    @property
    def busy(self) -> bool:
        """Whether it is at a share; it says so itself when it is at its end."""
        return self.connection is not None and self._number is not None

    def begin(self, share: Sequence[tuple[int, Job]], run: Run, listener: Listener) -> None:
        """Hand it some jobs of a run; what it reports beside outcomes goes to `listener`."""
        self._number, self._listener = next(self._numbers), listener
        jobs = tuple(job for _, job in share)
        if self.connection is None:
            with _starting, inherited(run.context):
                self.start()
        self.hand(share, Share(self._number, replace(run, jobs=jobs)))

    def cancel(self) -> None:
        """Let it drop the jobs that it has, and wait until it has; it is ended if it will not."""
        self._listener = _ignore
        until = time.monotonic() + END_TIMEOUT
        if self.connection is not None and self._number is not None:
            with suppress(OSError):
                self.connection.send(Cancel(self._number))
        while self.busy:
            assert self.connection is not None
            if not self.connection.poll(max(0.0, until - time.monotonic())):
                self.end()
                return
            self.receive()

    def outcomes(self, message: Any) -> list[tuple[int, Outcome]]:
        """Outcomes; what else it reports goes to `listener`."""
        if isinstance(message, ShareEnded):
            self._number = None
            return []
        if isinstance(message, Result | CoserError):
            return super().outcomes(message)
        self._listener(message)
        return []


def _ignore(event: object) -> None:
    """The client has gone."""


@dataclass
class Seat:
    """A process, and who uses it: `runs` of clients, one of which has the turn. No process is to
    begin any more where `ended` is set.
    """

    kind: Kind
    ended: threading.Event
    member: WarmMember = field(default_factory=WarmMember)
    turns: Turns = field(default_factory=Turns)
    runs: int = 0
    last_used: float = field(default_factory=time.monotonic)

    @property
    def processes(self) -> list[int]:
        """The number of its process, if it runs."""
        process = self.member.process
        return [] if process is None or process.pid is None else [process.pid]


class Pool:
    """At most `max_models` processes. Together they keep at most `max_memory` bytes while they
    are idle: those that were not used for longest end.
    """

    def __init__(self, max_models: int, max_memory: int | None) -> None:
        self._max_models, self._max_memory = max_models, max_memory
        self._seats: dict[Kind, Seat] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @contextmanager
    def seat(self, kind: Kind) -> Iterator[Seat]:
        """The process for runs of this kind, which stays for the block.

        Raises `BusyError` where there is none and others are in use.
        """
        with self._lock:
            seat = self._seats.get(kind) or self._new(kind)
            seat.runs += 1
        try:
            yield seat
        finally:
            with self._lock:
                seat.runs -= 1
                seat.last_used = time.monotonic()
                self._trim()

    def _new(self, kind: Kind) -> Seat:
        self._trim()
        if len(self._seats) >= self._max_models and not self._end_one():
            raise BusyError(f"all {self._max_models} models that may be loaded are in use")
        self._seats[kind] = seat = Seat(kind, self._ended)
        return seat

    def _trim(self) -> None:
        if self._max_memory is not None:
            while resident_memory(self._processes()) > self._max_memory and self._end_one():
                pass

    def _end_one(self) -> bool:
        """End the idle process that was not used for longest; False where all are in use."""
        idle = [seat for seat in self._seats.values() if not seat.runs]
        if not idle:
            return False
        oldest = min(idle, key=lambda seat: seat.last_used)
        del self._seats[oldest.kind]
        oldest.member.end()
        return True

    def _processes(self) -> list[int]:
        return [each for seat in self._seats.values() for each in seat.processes]

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """What is loaded."""
        with self._lock:
            return tuple(map(_described, self._seats.values()))

    def end(self) -> None:
        """End all processes, whatever they do: what they write is complete or not there."""
        self._ended.set()
        with self._lock:
            for seat in self._seats.values():
                seat.member.end()
            self._seats.clear()


def _described(seat: Seat) -> LoadedModel:
    process = next(iter(seat.processes), None)
    memory = resident_memory(seat.processes)
    compute = seat.kind.compute
    return LoadedModel(compute.model, compute.device, process, memory, seat.runs)
