"""The server: accepts connections until it is told to end, or has had nothing to do for long."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait

from coser_cli.errors import CoserError, shown
from coser_cli.server.context import sees_the_same
from coser_cli.server.endpoint import Endpoint, listen, lock_endpoint, make_private, user_of
from coser_cli.server.installation import installation
from coser_cli.server.lines import LineError, Lines, SilenceError
from coser_cli.server.memory import resident_memory
from coser_cli.server.pool import BusyError, Pool, kind_of
from coser_cli.server.protocol import (
    PROTOCOL,
    AskState,
    Hello,
    ProtocolError,
    Refused,
    Run,
    State,
    Stop,
    Stopping,
    Welcome,
    decode,
    encode,
)
from coser_cli.server.session import Client, ClientGoneError, do_run
from coser_cli.version import __version__

REQUEST_TIMEOUT = 10.0
"""Seconds that a client has to say what it wants."""
MAX_CLIENTS = 64
Log = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """Seconds without jobs until the server ends, None: never; see `Pool`."""

    idle_timeout: float | None = 600.0
    max_models: int = 2
    max_memory: int | None = None


class RunsAlreadyError(CoserError):
    """Another server has the socket."""


class Server:
    """Listens as long as `serve` runs. `log` gets what happens, a line each."""

    def __init__(self, endpoint: Endpoint, limits: Limits, log: Log) -> None:
        self._endpoint, self._limits, self._log = endpoint, limits, log
        self._pool = Pool(limits.max_models, limits.max_memory)
        self._lock = threading.Lock()
        self._clients = 0
        self._runs = 0
        self._jobs = 0
        self._began = self._last_run = time.monotonic()
        self._installation = installation()
        self._wake_sender, self._wake_receiver = socket.socketpair()
        self._reason = ""

    def serve(self) -> None:
        """Until SIGTERM or SIGINT, a client's `Stop`, or `idle_timeout`.

        Raises `RunsAlreadyError`, and `DeviceError` where the folder cannot be used.
        """
        make_private(self._endpoint.folder)
        lock = lock_endpoint(self._endpoint)
        if lock is None:
            raise RunsAlreadyError(
                f"a server listens at {shown(self._endpoint.socket)} already",
                "coser serve status tells about it, coser serve stop ends it",
            )
        try:
            with listen(self._endpoint) as listener:
                self._handle_signals()
                self._log(f"process {os.getpid()} listens at {shown(self._endpoint.socket)}")
                self._accept(listener)
                self._endpoint.socket.unlink(missing_ok=True)
            self._log(f"ends: {self._reason}")
            self._pool.end()
        finally:
            os.close(lock)

    def end(self, reason: str) -> None:
        """Let `serve` return."""
        self._reason = self._reason or reason
        self._wake_sender.send(b".")

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self.end(signal.Signals(number).name))

    def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        while True:
            ready = wait([listener, self._wake_receiver], self._seconds_to_wait())
            if self._wake_receiver in ready:
                return
            if listener in ready:
                with suppress(OSError):  # it has gone again
                    self._accept_client(listener.accept()[0])
            elif self._idle_seconds() >= (self._limits.idle_timeout or 0):
                self._reason = f"no jobs for {self._limits.idle_timeout:g} s"
                return

    def _seconds_to_wait(self) -> float | None:
        """Seconds to wait for the next connection."""
        timeout = self._limits.idle_timeout
        if timeout is None:
            return None
        return max(0.05, timeout - self._idle_seconds())

    def _idle_seconds(self) -> float:
        with self._lock:
            return 0.0 if self._runs else time.monotonic() - self._last_run

    def _accept_client(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        lines = Lines(connection)
        if user_of(connection) != os.geteuid():
            self._log(f"refused: a connection of user {user_of(connection)}")
            lines.close()
            return
        with self._lock:
            if self._clients >= MAX_CLIENTS:
                lines.close()
                return
            self._clients += 1
        threading.Thread(target=self._serve_client, args=(lines,), daemon=True).start()

    def _serve_client(self, lines: Lines) -> None:
        """The life of one connection."""
        try:
            self._handle_request(lines)
        except (ProtocolError, LineError, SilenceError) as error:
            self._log(f"refused: {str(error) or 'a client that says nothing'}")
            with suppress(OSError):
                lines.write(encode(Refused(str(error))), 1)
        except (OSError, ClientGoneError):
            self._log("a client has gone")
        finally:
            lines.close()
            with self._lock:
                self._clients -= 1

    def _handle_request(self, lines: Lines) -> None:
        hello = decode(lines.read(REQUEST_TIMEOUT), Hello)
        lines.write(
            encode(Welcome(PROTOCOL, __version__, self._installation, os.getpid())), REQUEST_TIMEOUT
        )
        question = lines.read(REQUEST_TIMEOUT)
        if question is None:  # it only wanted to know whether a server runs
            return
        request = decode(question, Run, AskState, Stop)
        if isinstance(request, AskState):
            lines.write(encode(self._state()), REQUEST_TIMEOUT)
        elif isinstance(request, Stop):
            lines.write(encode(Stopping(os.getpid())), REQUEST_TIMEOUT)
            self.end("it was told to stop")
        elif hello.installation != self._installation:
            lines.write(encode(Refused("it is another version")), REQUEST_TIMEOUT)
        elif not sees_the_same(request.context):
            lines.write(encode(Refused("it sees other files")), REQUEST_TIMEOUT)
        else:
            self._run(request, Client(lines))

    def _run(self, run: Run, client: Client) -> None:
        with self._lock:
            self._runs += 1
        try:
            with self._pool.seat(kind_of(run)) as seat:
                do_run(run, client, seat, self._count_job)
        except BusyError as error:
            client.send(Refused(str(error)))
        finally:
            with self._lock:
                self._runs -= 1
                self._last_run = time.monotonic()

    def _count_job(self) -> None:
        with self._lock:
            self._jobs += 1

    def _state(self) -> State:
        models = self._pool.models
        own = resident_memory([os.getpid()])
        return State(
            os.getpid(),
            __version__,
            time.monotonic() - self._began,
            self._limits.idle_timeout,
            self._limits.max_models,
            self._limits.max_memory,
            own + sum(each.memory for each in models),
            self._jobs,
            models,
        )
