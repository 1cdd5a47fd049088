"""Many jobs, several workers: each takes the next jobs when it is free; results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from coser_cli.batch.events import Advanced, Emit, Started, ignore
from coser_cli.batch.jobs import Job
from coser_cli.batch.results import Result
from coser_cli.errors import CoserError, DeviceError, shown

ATTEMPTS = 3
"""How often a job is started whose worker dies."""
MAX_SHARE = 8
"""Jobs that a worker is handed at once, at most: it reads and writes beside computing."""


@dataclass(frozen=True)
class Lost:
    """What becomes of a job whose worker died, or failed without saying why."""

    reason: str


Outcome = Result | CoserError | Lost
"""An error is one that ends the run."""


class Crew(Protocol):
    """Workers that can be handed jobs; a context manager that ends them."""

    @property
    def size(self) -> int:
        """How many workers there are, or are about to be."""
        ...

    @property
    def idle(self) -> int:
        """How many could begin now."""
        ...

    def hand(self, share: Sequence[tuple[int, Job]]) -> None:
        """Give an idle worker some jobs."""
        ...

    def wait(self) -> Iterable[tuple[int, Outcome]]:
        """Outcomes of jobs, as soon as there are any; empty where only a worker came or went.
        Raises `DeviceError` where no worker is left.
        """
        ...


def dispatch(
    jobs: Sequence[Job],
    crew: Crew,
    share: int,
    emit: Emit = ignore,
) -> Iterator[Result]:
    """A result per job, in order. Jobs are handed out `share` at a time while there are many.

    A job whose worker dies is given to another, by itself, `ATTEMPTS` times in all. What ends the
    run, as in `pipeline.run_in_process`, is raised after the results before it.
    """
    state = _State(jobs, deque(_shares(len(jobs), crew.size, share)), emit)
    reported = 0
    while reported < len(jobs):
        while crew.idle and state.waiting:
            crew.hand(state.next())
        for index, outcome in crew.wait():
            state.note(index, outcome)
        emit(Advanced("pictures", len(state.ended) + reported, len(jobs)))
        while reported in state.ended:
            outcome = state.ended.pop(reported)
            if isinstance(outcome, CoserError):
                raise outcome
            reported += 1
            yield outcome


class _State:
    """Which jobs wait, and the outcomes of others."""

    def __init__(
        self,
        jobs: Sequence[Job],
        waiting: deque[tuple[int, ...]],
        emit: Emit,
    ) -> None:
        self._jobs, self._emit = jobs, emit
        self._deaths = [0] * len(jobs)
        self.waiting = waiting
        self.ended: dict[int, Result | CoserError] = {}

    def next(self) -> list[tuple[int, Job]]:
        """The next share, begun."""
        share = [(index, self._jobs[index]) for index in self.waiting.popleft()]
        for index, job in share:
            if not self._deaths[index]:
                self._emit(Started(job))
        return share

    def note(self, index: int, outcome: Outcome) -> None:
        """Store the outcome of a job, or queue it again."""
        if isinstance(outcome, CoserError):  # nothing after it is reported
            self.waiting = deque(share for share in self.waiting if share[0] < index)
        if not isinstance(outcome, Lost):
            if self._deaths[index] and isinstance(outcome, Result):
                notes = (*outcome.notes, "done at another go: a worker died while it was at it")
                outcome = replace(outcome, notes=notes)
            self.ended[index] = outcome
            return
        self._deaths[index] += 1
        if self._deaths[index] < ATTEMPTS:
            self.waiting.appendleft((index,))
            return
        job = self._jobs[index]
        message = f"cannot enlarge {shown(job.source)}: its worker died or failed {ATTEMPTS} times"
        self.ended[index] = Result(job, "failed", error=DeviceError(message, outcome.reason))


def _shares(count: int, workers: int, most: int) -> Iterator[tuple[int, ...]]:
    """Indices of jobs in runs of `most`, shorter towards the end, so that all end together."""
    begin = 0
    while begin < count:
        length = max(1, min(most, (count - begin) // (2 * workers)))
        yield tuple(range(begin, begin + length))
        begin += length
