"""A run by the server where there is one, and by this process for the jobs that it leaves."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from coser_cli.batch.events import Emit, Event, Hint, Note, Started
from coser_cli.errors import DeviceError

if TYPE_CHECKING:
    from coser_cli.batch.jobs import Job
    from coser_cli.batch.request import Request, Work
    from coser_cli.batch.results import Result
    from coser_cli.server.client import Connection


def run_warm(
    jobs: Sequence[Job], work: Work, emit: Emit, *, warm: bool | None, progress: bool
) -> Generator[Result]:
    """`workers.run.run`, by the server if one of this installation runs.

    `warm` starts one if necessary; False uses none. What the server cannot do, or has not done when
    it ends, is done here. `progress`: whether progress is shown.
    """
    from coser_cli.server.client import NoAnswerError, ServerGoneError, UnservedError

    emit = _starts_once(emit)
    rest = dict.fromkeys(jobs)
    if jobs and warm is not False and _can_be_served(jobs, work.request):
        try:
            with _connection(emit, start=bool(warm)) as connection:
                for result in connection.run(jobs, work, emit, progress=progress):
                    rest.pop(result.job)
                    yield result
                return
        except UnservedError as error:
            if warm or isinstance(error, NoAnswerError):
                emit(Note(f"goes on without a server: {error}"))
        except ServerGoneError:
            emit(Note("the server has ended; this command goes on without it"))
    from coser_cli.batch.workers.run import run

    yield from run(list(rest), work, emit)


def _can_be_served(jobs: Sequence[Job], request: Request) -> bool:
    """Several devices and clusters have workers of their own; tracebacks are shown here."""
    shared_out = min(len(request.devices), len(jobs)) > 1 or request.cluster is not None
    return not shared_out and not os.environ.get("COSER_DEBUG")


def _connection(emit: Emit, *, start: bool) -> Connection:
    """To a server of this installation, which is started if need be. Raises `UnservedError`."""
    from coser_cli.server.client import Connection, NoServerError, UnservedError
    from coser_cli.server.endpoint import find_endpoint

    try:
        endpoint = find_endpoint()
        try:
            connection = Connection(endpoint)
        except NoServerError:
            if not start:
                raise
            from coser_cli.server import background

            emit(Hint("starting a server ..."))
            background.start(endpoint)
            connection = Connection(endpoint)
    except UnservedError:
        raise
    except DeviceError as error:
        raise UnservedError(error.message, error.hint) from None
    if not connection.is_ours:
        with connection:
            raise UnservedError(
                f"the one that runs is of another installation (version "
                f"{connection.welcome.version})",
                "coser serve stop ends it",
            )
    return connection


def _starts_once(emit: Emit) -> Emit:
    """The same listener, which gets each job's start once, whichever process begins it again."""
    started: set[Job] = set()

    def emit_once(event: Event) -> None:
        if isinstance(event, Started):
            if event.job in started:
                return
            started.add(event.job)
        emit(event)

    return emit_once
