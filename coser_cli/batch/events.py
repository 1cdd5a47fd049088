"""What a run reports while it works: plain data, so that it can come from another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coser_cli.batch.jobs import Job
from coser_cli.engine.progress import Progress


@dataclass(frozen=True)
class Started:
    """Work on a job begins."""

    job: Job


@dataclass(frozen=True)
class Advanced:
    """A stage of the job in hand is `done` of `total` steps far."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Note:
    """Something that the user should know."""

    text: str


@dataclass(frozen=True)
class Hint:
    """What takes time now, for someone who waits."""

    text: str


Event = Started | Advanced | Note | Hint
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore the event."""


def progress_to(emit: Emit) -> Progress:
    """The engine's progress as events."""
    return lambda stage, done, total: emit(Advanced(stage, done, total))
