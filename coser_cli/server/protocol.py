"""What client and server say to each other: newline-delimited JSON objects, each with its `type`.

A client says `Hello`, and the server `Welcome` or `Refused`. Then the client asks one thing: `Run`,
`AskState` or `Stop`. To a `Run` come events until `Finished`, `Broken` or `Refused`; the client
gives up its jobs by closing the connection. `Hello`, `Welcome`, `AskState`, `State`, `Stop` and
`Stopping` are understood by every version, so that any of them can end any other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from coser_cli import errors
from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Request
from coser_cli.batch.results import Result
from coser_cli.errors import CoserError
from coser_cli.server.codec import from_json, to_json
from coser_cli.size import Size

PROTOCOL = 2
"""Grows when a message changes its meaning or loses a field."""


class ProtocolError(Exception):
    """What came is no message that was expected."""


@dataclass(frozen=True)
class Hello:
    """The client's first line. `installation`: see `installation.py`."""

    protocol: int
    version: str
    installation: str


@dataclass(frozen=True)
class Welcome:
    """Who answers. It serves a `Run` only where both are of one installation."""

    protocol: int
    version: str
    installation: str
    process: int


@dataclass(frozen=True)
class Context:
    """Of the client's process, what its jobs are done under. `cores` may be used; empty: all.

    `places` are device and inode of the folder and of `/`: another process may see other files.
    """

    folder: str
    places: tuple[tuple[int, int], ...]
    umask: int
    environment: dict[str, str]
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Run:
    """Do these jobs with the model in `folder`. `progress`: also report `JobAdvanced`."""

    jobs: tuple[Job, ...]
    request: Request
    folder: str
    context: Context
    progress: bool = False


@dataclass(frozen=True)
class AskState:
    """What is loaded, and who is served?"""


@dataclass(frozen=True)
class Stop:
    """End; who is served goes on without the server."""


@dataclass(frozen=True)
class Refused:
    """The client must do without the server."""

    reason: str


@dataclass(frozen=True)
class Alive:
    """Nothing new."""


@dataclass(frozen=True)
class Waiting:
    """Other clients come first."""


@dataclass(frozen=True)
class JobStarted:
    """Work on the job of this index begins."""

    job: int


@dataclass(frozen=True)
class JobAdvanced:
    """A stage of the job in hand is `done` of `total` steps far."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Message:
    """Something that the user should know (`note`), or that takes time now (`hint`)."""

    kind: Literal["note", "hint"]
    text: str


@dataclass(frozen=True)
class Warned:
    """A warning of Python, with the name of its category and its place."""

    category: str
    text: str
    file: str
    line: int


@dataclass(frozen=True)
class Failure:
    """An error: the name of its class in `coser_cli.errors`."""

    kind: str
    message: str
    hint: str


@dataclass(frozen=True)
class JobEnded:
    """What has become of a job; the fields are those of `Result`."""

    job: int
    status: Literal["done", "skipped", "failed", "not_started"]
    seconds: float
    source_size: Size | None
    target_size: Size | None
    seed: int | None
    notes: tuple[str, ...]
    scores: tuple[float, ...] | None
    chosen: int | None
    error: Failure | None


@dataclass(frozen=True)
class Broken:
    """The run has ended with an error that concerns all its jobs."""

    error: Failure


@dataclass(frozen=True)
class Finished:
    """All jobs have ended."""


@dataclass(frozen=True)
class LoadedModel:
    """A process that holds a model: its number, bytes of memory, runs that it serves now."""

    model: str
    device: str
    process: int | None
    memory: int
    runs: int


@dataclass(frozen=True)
class State:
    """What a server is at. Times in seconds, memory in bytes; None: no limit."""

    process: int
    version: str
    running: float
    idle_timeout: float | None
    max_models: int
    max_memory: int | None
    memory: int
    jobs: int
    models: tuple[LoadedModel, ...]


@dataclass(frozen=True)
class Stopping:
    """The server ends."""

    process: int


Asked = Run | AskState | Stop
Event = (
    Alive
    | Waiting
    | JobStarted
    | JobAdvanced
    | Message
    | Warned
    | JobEnded
    | Broken
    | Finished
    | Refused
)
_TYPES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(Hello, Welcome, Run, AskState, Stop, Refused, Alive, Waiting, JobStarted, JobAdvanced),
        *(Message, Warned, JobEnded, Broken, Finished, State, Stopping),
    )
}


def encode(message: Any) -> bytes:
    """One line, without its end."""
    return json.dumps({"type": type(message).__name__, **to_json(message)}).encode()


def decode(line: bytes | None, *expected: type) -> Any:
    """The message in a line, of one of the `expected` types.

    Raises `ProtocolError` for anything else, and for None: the other side has closed.
    """
    if line is None:
        raise ProtocolError("the connection was closed")
    try:
        data = json.loads(line)
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            raise TypeError("no object with a type")
        cls = _TYPES.get(data.pop("type"))
        if cls not in expected:
            raise TypeError("no message that was expected")
        assert cls is not None
        return from_json(cls, data)
    except (ValueError, TypeError, RecursionError, CoserError) as error:
        raise ProtocolError(f"not understood: {error}") from None


def failure_of(error: CoserError) -> Failure:
    """An error as a message; of a class that only the engine knows, its nearest known one."""
    known = next(each for each in type(error).__mro__ if each.__module__ == errors.__name__)
    return Failure(known.__name__, error.message, error.hint)


def error_of(failure: Failure) -> CoserError:
    """The error of a message."""
    known = getattr(errors, failure.kind, None)
    if not (isinstance(known, type) and issubclass(known, CoserError)):
        known = CoserError
    return known(failure.message, failure.hint)


def ended(job: int, result: Result) -> JobEnded:
    """A result as a message."""
    return JobEnded(
        job,
        result.status,
        result.seconds,
        result.source_size,
        result.target_size,
        result.seed,
        result.notes,
        result.scores,
        result.chosen,
        None if result.error is None else failure_of(result.error),
    )


def result_of(job: Job, event: JobEnded) -> Result:
    """The result of a message."""
    return Result(
        job,
        event.status,
        event.seconds,
        event.source_size,
        event.target_size,
        event.seed,
        event.notes,
        event.scores,
        event.chosen,
        None if event.error is None else error_of(event.error),
    )
