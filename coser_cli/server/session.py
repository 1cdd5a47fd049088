"""One client's run: its jobs handed out share by share, its events sent as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from typing import Self

from coser_cli.batch.events import Advanced, Hint, Note, Started
from coser_cli.batch.jobs import Job
from coser_cli.batch.workers.dispatch import MAX_SHARE, Outcome, dispatch
from coser_cli.errors import CoserError
from coser_cli.server import protocol
from coser_cli.server.lines import Lines
from coser_cli.server.pool import Seat
from coser_cli.server.protocol import Broken, Event, Finished, Run, Warned, encode, failure_of
from coser_cli.server.worker import LoadedNote

HEARTBEAT = 5.0
"""Seconds after which a client that has nothing new to hear hears that the server lives."""
WRITE_TIMEOUT = 60.0
"""Seconds that a client may take to read, until it is given up: it holds others up."""


class ClientGoneError(Exception):
    """The client has closed its connection, or does not read; or has to do without the server."""


class Client:
    """The client's side of the connection, while its run is done."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.connection = lines.connection
        self._last = time.monotonic()

    def send(self, event: Event) -> None:
        """Raises `ClientGoneError`."""
        try:
            self._lines.write(encode(event), WRITE_TIMEOUT)
        except OSError:
            raise ClientGoneError from None
        self._last = time.monotonic()

    def check(self) -> None:
        """Raises `ClientGoneError`: a client says nothing more, so all that can come is its end."""
        if wait([self.connection], 0):
            raise ClientGoneError
        if time.monotonic() - self._last >= HEARTBEAT:
            self.send(protocol.Alive())


class _SeatCrew:
    """The one worker of a run, which other runs use in between; see `dispatch.Crew`."""

    size = 1

    def __init__(self, seat: Seat, run: Run, client: Client) -> None:
        self._seat, self._run, self._client = seat, run, client
        self._turn = ExitStack()
        self._has_turn = False
        self._notes: set[str] = set()
        self._indices = {job: index for index, job in enumerate(run.jobs)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._has_turn:
            self._seat.member.cancel()
        self._turn.close()

    @property
    def idle(self) -> int:
        return int(not self._has_turn)

    def hand(self, share: Sequence[tuple[int, Job]]) -> None:
        if self._seat.turns.taken:
            self._client.send(protocol.Waiting())
        self._turn.enter_context(self._seat.turns.turn(self._client.check))
        self._has_turn = True
        if self._seat.ended.is_set():
            raise ClientGoneError
        self._seat.member.begin(share, self._run, self._forward)

    def wait(self) -> Iterable[tuple[int, Outcome]]:
        member = self._seat.member
        assert member.connection is not None
        if member.connection not in wait([member.connection, self._client.connection], HEARTBEAT):
            self._client.check()
            return []
        outcomes = member.receive()
        if self._seat.ended.is_set():  # lost jobs are not to begin again
            raise ClientGoneError
        if not member.busy:
            self._turn.close()
            self._has_turn = False
        return outcomes

    def _forward(self, event: object) -> None:
        """Send the client what the worker reports."""
        if isinstance(event, Warned):
            self._client.send(event)
        elif isinstance(event, Started):
            self._client.send(protocol.JobStarted(self._indices[event.job]))
        elif isinstance(event, Advanced):
            self._client.send(protocol.JobAdvanced(event.stage, event.done, event.total))
        elif isinstance(event, Hint):
            self._client.send(protocol.Message("hint", event.text))
        elif isinstance(event, Note) or (
            isinstance(event, LoadedNote) and event.text not in self._notes
        ):
            self._notes.add(event.text)
            self._client.send(protocol.Message("note", event.text))


def do_run(run: Run, client: Client, seat: Seat, on_ended: Callable[[], None]) -> None:
    """Do the jobs of a run and send what becomes of them; `on_ended` is called for each.

    Raises `ClientGoneError`, having made the worker drop them.
    """
    request = run.request
    share = 1 if request.fail_fast else max(MAX_SHARE, request.batch_size or 1)
    with _SeatCrew(seat, run, client) as crew:
        try:
            for done, result in enumerate(dispatch(run.jobs, crew, share)):
                on_ended()
                client.send(protocol.ended(done, result))
                if request.fail_fast and result.status == "failed":
                    break
        except CoserError as error:
            client.send(Broken(failure_of(error)))
            return
    client.send(Finished())
