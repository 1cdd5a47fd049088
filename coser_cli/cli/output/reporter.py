"""Results → text or JSON Lines on stdout; messages and progress on stderr."""

from __future__ import annotations

import json
import sys
import time
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from coser_cli.batch.events import Advanced, Event, Hint, Note, Started
from coser_cli.cli.output.bars import Bars
from coser_cli.cli.output.json_lines import (
    image_record,
    plan_record,
    plan_text,
    problem_record,
    summary_record,
)
from coser_cli.cli.output.streams import write_line
from coser_cli.cli.output.table import Row, rich_table, row_of
from coser_cli.errors import CoserError, CoserWarning, Exit, shown
from coser_cli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coser_cli.batch.dry_run import Plan
    from coser_cli.batch.jobs import Job
    from coser_cli.batch.results import Result, Tally
    from coser_cli.cli.output.log import Level, RunLog


class Reporter:
    """Says what happens: one per command, used as a context manager round the run.

    stdout carries results only (paths, or JSON Lines with `as_json`), stderr everything else.
    `quiet` leaves nothing but errors, and the JSON where that was asked for. Without `results`
    stdout is left alone, since a picture goes there. `log` gets everything, and is closed at the
    end.
    """

    def __init__(
        self, *, as_json: bool, quiet: bool, results: bool = True, log: RunLog | None = None
    ) -> None:
        self._results = results
        self._log = log
        self._rows: list[Row] = []
        self._as_json = as_json
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._bars: Bars | None = None
        self._expected: Mapping[str, float] | None = None
        self._total = 0
        self._started = self._ended = 0
        self._began = time.monotonic()
        self._tally: Tally | None = None

    def __enter__(self) -> Reporter:
        self._shows_warning = warnings.showwarning
        warnings.showwarning = self._warned
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        """End the bar; what ends the run still gets its JSON summary."""
        warnings.showwarning = self._shows_warning
        self._close_bars()
        if isinstance(error, CoserError):
            self._logged("ERROR", str(error))
            if self._as_json:
                self._summary("error", error.exit_code, error)
            error.is_reported = True
        elif isinstance(error, KeyboardInterrupt):
            self.interrupted()
        if self._log is not None:
            self._log.close()

    def expect(self, costs: Mapping[str, float]) -> None:
        """What stages pictures will go through, and their costs: `stages.expected_costs`."""
        self._expected = costs

    def begin(self, total: int, tally: Tally) -> None:
        """Say how many jobs there will be, and where they are counted."""
        self._total = total
        self._tally = tally
        if self._live:
            self._bars = Bars(total, self._expected)
        self._logged("INFO", f"coser {__version__} begins with {total} picture{'s' * (total != 1)}")

    def message(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        self._logged("NOTE", text)
        if not self._quiet:
            self._stderr(text)

    def _warned(
        self, message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> None:
        """Our own warnings are messages like others; the rest is shown as Python does."""
        if issubclass(category, CoserWarning):
            self.message(f"coser: {message}")
        else:
            self._shows_warning(message, category, *place, **more)

    def _logged(self, level: Level, text: str) -> None:
        if self._log is not None:
            self._log.line(level, text)

    @property
    def live(self) -> bool:
        """Whether somebody looks at progress: on a terminal."""
        return self._live

    def hint(self, text: str) -> None:
        """A line for someone who sits and waits: on a terminal only."""
        if self._live:
            self._stderr(text)

    def report(self, event: Event) -> None:
        """What a run does; the listener of `batch.workers.run`."""
        match event:
            case Started(job):
                self.start(job)
            case Advanced(stage, done, total):
                self.progress(stage, done, total)
            case Note(text):
                self.message(text)
            case Hint(text):
                self.hint(text)

    def start(self, job: Job) -> None:
        """A job begins."""
        self._started += 1
        self._logged("INFO", f"starts {shown(job.source)} ({self._started} of {self._total})")
        if self._bars is not None:
            self._bars.picture(job.source.name)

    def progress(self, stage: str, done: int, total: int) -> None:
        """A stage is `done` of `total` steps far; of "pictures", that many have ended elsewhere."""
        if self._bars is None:
            return
        if stage == "pictures":
            self._bars.count(done)
        else:
            self._bars.stage(stage, done, total)

    def result(self, result: Result) -> None:
        """One job has ended."""
        if self._bars is not None:
            self._bars.ended(result.job.source.name, worked=result.status in ("done", "failed"))
        self._ended += 1
        self._rows.append(row_of(result))
        self._logged("INFO", _log_line(result))
        if result.error is not None:
            self._error(result.error)
        elif result.status == "skipped":
            source, target = shown(result.job.source), result.job.target
            if target.exists():
                self.message(f"skipped {source}: {shown(target)} exists (--overwrite)")
            else:  # a note says why
                self.message(f"left {source} as it is")
        elif result.status == "done" and self._total > 1 and not (self._live or self._quiet):
            write_line(f"{self._ended} of {self._total}: {_done_line(result)}", err=True)
        for note in result.notes:
            self.message(f"note on {shown(result.job.source)}: {note}")
        if result.scores is not None:
            self.message(_scores(result))
        if self._as_json:
            self._stdout(json.dumps(image_record(result)))
        elif result.status in ("done", "skipped") and self._results and not self._quiet:
            for path in result.job.results:
                if result.status == "done" or path.exists():
                    self._stdout(str(path))

    def plan(self, plan: Plan) -> None:
        """What a job would be."""
        if self._as_json:
            write_line(json.dumps(plan_record(plan)))
        else:
            write_line(plan_text(plan))

    def problem(self, error: CoserError) -> None:
        """Something that was named could not be looked into; no picture belongs to it."""
        self._error(error)
        if self._as_json:
            write_line(json.dumps(problem_record(error)))

    def planned(self, tally: Tally) -> None:
        """All plans are told."""
        if self._as_json:
            status = "success" if not tally.failed else "partial" if _any_good(tally) else "error"
            self._summary(status, tally.exit_code)
        elif self._total > 1:
            self.message(f"{tally.done} can be done, {tally.failed} cannot; nothing was written")

    def end(self, tally: Tally) -> None:
        """All jobs have ended."""
        self._close_bars()
        self._logged("INFO", f"ends: {_counts(tally)}; exit code {int(tally.exit_code)}")
        if self._as_json:
            status = "success" if not tally.failed else "partial" if _any_good(tally) else "error"
            self._summary(status, tally.exit_code)
        if self._total > 1:
            self._table()
            self.message(_counts(tally))

    def interrupted(self) -> None:
        """Ctrl-C: say how far it got and how it goes on."""
        self._close_bars()
        done = self._tally.done + self._tally.skipped if self._tally else 0
        text = f"stopped after {done} of {self._total}; run the same command again to continue"
        self._logged("ERROR", text)
        write_line(f"coser: {text}", err=True)
        if self._as_json:
            self._summary("interrupted", Exit.INTERRUPTED)

    def _summary(self, status: str, code: Exit, error: CoserError | None = None) -> None:
        tally, names = self._tally, ("done", "skipped", "failed", "not_started")
        counts = {name: getattr(tally, name) for name in names if tally is not None}
        seconds = round(time.monotonic() - self._began, 3)
        record = summary_record(
            status, code, error=error, total=self._total, seconds=seconds, **counts
        )
        write_line(json.dumps(record))

    def _error(self, error: CoserError) -> None:
        self._logged("ERROR", str(error))
        self._stderr(f"coser: {error}")

    def _table(self) -> None:
        """What became of each picture; on a terminal only, as elsewhere each has had its line."""
        if not self._live or not self._rows:
            return
        from rich.console import Console

        Console(stderr=True, highlight=False).print(rich_table(self._rows))

    @contextmanager
    def _without_bars(self) -> Iterator[None]:
        with nullcontext() if self._bars is None else self._bars.paused():
            yield

    def _stderr(self, text: str) -> None:
        with self._without_bars():
            write_line(text, err=True)

    def _stdout(self, text: str) -> None:
        with self._without_bars():
            write_line(text)

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.close()
            self._bars = None


def _scores(result: Result) -> str:
    """How near each reference is to the input, and which of them is used, in words."""
    scores = result.scores or ()
    listed = ", ".join(f"{number}: {score:.4f}" for number, score in enumerate(scores, start=1))
    chosen = "" if result.chosen is None else f"; {result.chosen + 1} is used"
    return f"references of {shown(result.job.source)}, nearness to it: {listed}{chosen}"


def _counts(tally: Tally) -> str:
    rest = f", {tally.not_started} not started" if tally.not_started else ""
    return f"{tally.done} done, {tally.skipped} skipped, {tally.failed} failed{rest}"


def _done_line(result: Result) -> str:
    """A picture that is made, for a log."""
    target = shown(result.job.target)
    return f"{shown(result.job.source)} → {target}, {result.target_size}, {result.seconds:.1f} s"


def _log_line(result: Result) -> str:
    """A result for the log."""
    words = result.status.replace("_", " ")
    line = f"{words} {shown(result.job.source)} → {shown(result.job.target)}"
    if result.target_size is None:
        return line
    return f"{line}: {result.target_size} pixels, seed {result.seed}, {result.seconds:.1f} s"


def _any_good(tally: Tally) -> bool:
    return tally.done + tally.skipped > 0
