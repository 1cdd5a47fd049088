"""Results of jobs, and their sum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from coser_cli.batch.jobs import Job
from coser_cli.errors import CoserError, Exit
from coser_cli.size import Size


@dataclass(frozen=True)
class Result:
    """The result of a job; `error` is set where it failed.

    `scores` of the candidate references, where they were compared with the input, and the index of
    the `chosen` one, where not all were used.
    """

    job: Job
    status: Literal["done", "skipped", "failed", "not_started"]
    seconds: float = 0.0
    source_size: Size | None = None
    target_size: Size | None = None
    seed: int | None = None
    notes: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    chosen: int | None = None
    error: CoserError | None = None


@dataclass
class Tally:
    """Results counted, and the exit code they add up to."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    not_started: int = 0
    codes: set[Exit] = field(default_factory=set)

    def add(self, result: Result) -> None:
        setattr(self, result.status, getattr(self, result.status) + 1)
        if result.error is not None:
            self.codes.add(result.error.exit_code)

    def add_problem(self, error: CoserError) -> None:
        """Count something that failed before there was a job."""
        self.failed += 1
        self.codes.add(error.exit_code)

    def add_plan(self, error: CoserError | None) -> None:
        if error is None:
            self.done += 1
        else:
            self.add_problem(error)

    @property
    def exit_code(self) -> Exit:
        """0 if nothing failed; the one common reason if nothing was done; else 1."""
        if self.not_started:
            return Exit.FAILED
        if not self.codes:
            return Exit.OK
        if self.done == 0 and len(self.codes) == 1:
            return next(iter(self.codes))
        return Exit.FAILED
