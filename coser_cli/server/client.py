"""The client: lets a server do the jobs, where one runs; imports no torch."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar

from coser_cli.batch.events import Advanced, Emit, Hint, Note, Started
from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result
from coser_cli.errors import CoserWarning, DeviceError
from coser_cli.server import protocol
from coser_cli.server.context import own_context
from coser_cli.server.endpoint import Endpoint, require_private, user_of
from coser_cli.server.installation import installation
from coser_cli.server.lines import MAX_LINE, LineError, Lines, SilenceError
from coser_cli.server.protocol import Hello, ProtocolError, Run, Welcome, decode, encode, result_of
from coser_cli.version import __version__
from coser_cli.weights.store import model_folder

REPLY_TIMEOUT = 3.0
"""Seconds that a server has to answer in."""
SILENCE_TIMEOUT = 30.0
"""Seconds after which a server that says nothing, not even that it lives, is given up."""
M = TypeVar("M")


class UnservedError(DeviceError):
    """No server does this."""


class NoAnswerError(UnservedError):
    """One runs, but does not answer."""


class NoServerError(UnservedError):
    """None runs."""

    def __init__(self) -> None:
        super().__init__("no server runs", "coser serve start starts one")


class ServerGoneError(Exception):
    """The server has ended, or does not answer any more."""


class Connection:
    """A connection to the user's server; a context manager.

    Raises `UnservedError` where there is none that answers.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._lines = Lines(_connected(endpoint))
        self._installation = installation()
        try:
            self._send(Hello(protocol.PROTOCOL, __version__, self._installation))
            self.welcome = decode(self._lines.read(REPLY_TIMEOUT), Welcome)
        except (OSError, ProtocolError, LineError) as error:
            self._lines.close()
            raise NoAnswerError(f"the server does not answer: {error}") from None
        except SilenceError:
            self._lines.close()
            raise NoAnswerError(f"the server does not answer within {REPLY_TIMEOUT:g} s") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()

    @property
    def is_ours(self) -> bool:
        """Whether it would do as this process does: it is of the same installation."""
        return self.welcome.installation == self._installation

    def ask(self, question: Any, answer: type[M]) -> M:
        """What the server says. Raises `UnservedError`."""
        try:
            self._send(question)
            reply: M = decode(self._lines.read(REPLY_TIMEOUT), answer)
            return reply
        except (OSError, ProtocolError, LineError, SilenceError) as error:
            raise NoAnswerError(f"the server does not answer: {error}") from None

    def run(
        self, jobs: Sequence[Job], work: Work, emit: Emit, *, progress: bool
    ) -> Iterator[Result]:
        """A result per job, in order, as `workers.run.run` would yield; events go to `emit`.

        Raises what ends a run, `UnservedError` before any result where the server refuses, and
        `ServerGoneError`.
        """
        try:
            context = own_context()
        except OSError:
            raise UnservedError("this folder is gone") from None
        folder = str(model_folder(work.request.compute.model).absolute())
        run = Run(tuple(jobs), work.request, folder, context, progress)
        line = encode(run)
        if len(line) > MAX_LINE:
            raise UnservedError(f"{len(jobs)} pictures are too many for one message")
        report = _Report(jobs, emit)
        try:
            self._lines.write(line, SILENCE_TIMEOUT)
            while True:
                event = decode(self._lines.read(SILENCE_TIMEOUT), *_EVENTS)
                if isinstance(event, protocol.Finished):
                    return
                if isinstance(event, protocol.Refused):
                    raise UnservedError(event.reason)
                if isinstance(event, protocol.Broken):
                    raise protocol.error_of(event.error)
                if isinstance(event, protocol.JobEnded):
                    yield result_of(jobs[event.job], event)
                else:
                    report.forward(event)
        except (OSError, ProtocolError, LineError, SilenceError, IndexError) as error:
            raise ServerGoneError(str(error)) from None

    def _send(self, message: Any) -> None:
        self._lines.write(encode(message), REPLY_TIMEOUT)


_EVENTS = (
    *(protocol.Alive, protocol.Waiting, protocol.JobStarted, protocol.JobAdvanced),
    *(protocol.Message, protocol.Warned, protocol.JobEnded, protocol.Broken, protocol.Finished),
    protocol.Refused,
)


class _Report:
    """What the server reports of a run, passed on as if it happened here."""

    def __init__(self, jobs: Sequence[Job], emit: Emit) -> None:
        self._jobs, self._emit = jobs, emit
        self._warned: dict[Any, Any] = {}

    def forward(self, event: protocol.Event) -> None:
        if isinstance(event, protocol.JobStarted):
            self._emit(Started(self._jobs[event.job]))
        elif isinstance(event, protocol.JobAdvanced):
            self._emit(Advanced(event.stage, event.done, event.total))
        elif isinstance(event, protocol.Waiting):
            self._emit(Hint("waiting for the server ..."))
        elif isinstance(event, protocol.Message):
            self._emit(Note(event.text) if event.kind == "note" else Hint(event.text))
        elif isinstance(event, protocol.Warned):
            category: type[Warning] = CoserWarning
            if event.category != CoserWarning.__name__:
                category = type(event.category, (UserWarning,), {})
            place = event.file, event.line
            warnings.warn_explicit(event.text, category, *place, registry=self._warned)


def _connected(endpoint: Endpoint) -> socket.socket:
    """Raises `UnservedError`; a folder that is not private counts as none."""
    if not endpoint.socket.exists():
        raise NoServerError
    require_private(endpoint.folder)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(REPLY_TIMEOUT)
        connection.connect(str(endpoint.socket))
        if user_of(connection) != os.geteuid():
            raise UnservedError("the server is another user's")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise NoServerError from None
    except OSError as error:
        connection.close()
        raise NoAnswerError(f"the server cannot be reached: {error}") from None
    return connection
