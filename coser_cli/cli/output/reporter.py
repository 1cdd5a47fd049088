"""Results → text or JSON Lines on stdout; messages and progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from coser_cli.batch.events import Advanced, Event, Hint, Note, Started
from coser_cli.cli.output.json_lines import (
    JSON_VERSION,
    error_record,
    image_record,
    plan_record,
    plan_text,
    problem_record,
)
from coser_cli.cli.output.table import Row, plain_table, rich_table, row_of
from coser_cli.errors import CoserError, CoserWarning, Exit, shown
from coser_cli.version import __version__

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from coser_cli.batch.dry_run import Plan
    from coser_cli.batch.jobs import Job
    from coser_cli.batch.results import Result, Tally
    from coser_cli.cli.output.log import Level, RunLog

STAGES = {
    "prepare": "preparing",
    "enlarge": "enlarging",
    "encode": "encoding",
    "understand": "understanding",
    "imagine": "imagining the reference",
    "restore": "restoring",
    "decode": "decoding",
    "write": "writing",
    "pictures": "pictures done",
}


class Reporter:
    """Says what happens: one per command, used as a context manager round the run.

    stdout carries results only (paths, or JSON Lines with `as_json`), stderr everything else.
    `quiet` leaves nothing but errors, and the JSON where that was asked for. Without `results`
    stdout is left alone, since a picture goes there. `log` is told everything, and closed at the
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
        self._bar: RichProgress | None = None
        self._task: Any = None
        self._stage = ""
        self._total = 0
        self._started = 0
        self._began = time.monotonic()
        self._tally: Tally | None = None

    def __enter__(self) -> Reporter:
        self._shows_warning = warnings.showwarning
        warnings.showwarning = self._warned
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the bar; what ends the run still gets its JSON summary."""
        warnings.showwarning = self._shows_warning
        self._stop_bar()
        if isinstance(error, CoserError):
            self._logged("ERROR", str(error))
            if self._as_json:
                self._summary("error", error.exit_code, error)
        elif isinstance(error, KeyboardInterrupt):
            self.interrupted()
        if self._log is not None:
            self._log.close()

    def begin(self, total: int, tally: Tally) -> None:
        """Say how many jobs there will be, and where they are counted."""
        self._total = total
        self._tally = tally
        self._logged("INFO", f"coser {__version__} begins with {total} picture{'s' * (total != 1)}")

    def message(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        self._logged("NOTE", text)
        if not self._quiet:
            _stderr(text)

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
            _stderr(text)

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
        self._name = f"{self._started}/{self._total} {job.source.name}"
        self._logged("INFO", f"starts {shown(job.source)} ({self._started} of {self._total})")
        self._stage = ""

    def progress(self, stage: str, done: int, total: int) -> None:
        """A stage is `done` of `total` steps far; draws the bar, on a terminal only."""
        if not self._live:
            return
        bar = self._bar or self._start_bar()
        if stage != self._stage:
            self._stage = stage
            label = f"{self._name}  {STAGES.get(stage, stage)}"
            bar.reset(self._task, total=total, description=label)
        bar.update(self._task, completed=done, total=total)

    def result(self, result: Result) -> None:
        """One job has ended."""
        self._stop_bar()
        self._rows.append(row_of(result))
        self._logged("INFO", _log_line(result))
        if result.error is not None:
            self._error(result.error)
        elif result.status == "skipped":
            there = shown(result.job.target)
            self.message(f"skipped {shown(result.job.source)}: {there} exists (--overwrite)")
        for note in result.notes:
            self.message(f"note on {shown(result.job.source)}: {note}")
        if result.scores is not None:
            self.message(_scores(result))
        if self._as_json:
            _stdout(json.dumps(image_record(result)))
        elif result.status in ("done", "skipped") and self._results and not self._quiet:
            for path in result.job.results:
                _stdout(str(path))

    def plan(self, plan: Plan) -> None:
        """What a job would be."""
        if self._as_json:
            _stdout(json.dumps(plan_record(plan)))
        else:
            _stdout(plan_text(plan))

    def problem(self, error: CoserError) -> None:
        """Something that was named could not be looked into; no picture belongs to it."""
        self._error(error)
        if self._as_json:
            _stdout(json.dumps(problem_record(error)))

    def planned(self, tally: Tally) -> None:
        """All plans are told."""
        if self._as_json:
            status = "success" if not tally.failed else "partial" if _any_good(tally) else "error"
            self._summary(status, tally.exit_code)
        elif self._total > 1:
            self.message(f"{tally.done} can be done, {tally.failed} cannot; nothing was written")

    def end(self, tally: Tally) -> None:
        """All jobs have ended."""
        self._logged("INFO", f"ends: {_counts(tally)}; exit code {int(tally.exit_code)}")
        if self._as_json:
            status = "success" if not tally.failed else "partial" if _any_good(tally) else "error"
            self._summary(status, tally.exit_code)
        if self._total > 1:
            self._table()
            self.message(_counts(tally))

    def interrupted(self) -> None:
        """Ctrl-C: say how far it got and how it goes on."""
        self._stop_bar()
        done = self._tally.done + self._tally.skipped if self._tally else 0
        text = f"stopped after {done} of {self._total}; run the same command again to continue"
        self._logged("ERROR", text)
        _stderr(f"coser: {text}")
        if self._as_json:
            self._summary("interrupted", Exit.INTERRUPTED)

    def _summary(self, status: str, code: Exit, error: CoserError | None = None) -> None:
        tally = self._tally
        record = {
            "type": "summary",
            "version": JSON_VERSION,
            "status": status,
            "exit_code": int(code),
            "total": self._total,
            "done": tally.done if tally else 0,
            "skipped": tally.skipped if tally else 0,
            "failed": tally.failed if tally else 0,
            "not_started": tally.not_started if tally else 0,
            "seconds": round(time.monotonic() - self._began, 3),
            "error": None if error is None else error_record(error),
        }
        _stdout(json.dumps(record))

    def _error(self, error: CoserError) -> None:
        self._logged("ERROR", str(error))
        _stderr(f"coser: {error}")

    def _table(self) -> None:
        """What became of each picture; drawn on a terminal, else in plain text."""
        if self._quiet or not self._rows:
            return
        if not self._live:
            _stderr(plain_table(self._rows))
            return
        from rich.console import Console

        Console(stderr=True, highlight=False).print(rich_table(self._rows))

    def _start_bar(self) -> RichProgress:
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("")
        self._bar.start()
        return self._bar

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _scores(result: Result) -> str:
    """How near each reference is to the input, and which of them is used, in words."""
    scores = result.scores or ()
    listed = ", ".join(f"{number}: {score:.4f}" for number, score in enumerate(scores, start=1))
    chosen = "" if result.chosen is None else f"; {result.chosen + 1} is used"
    return f"references of {shown(result.job.source)}, nearness to it: {listed}{chosen}"


def _counts(tally: Tally) -> str:
    rest = f", {tally.not_started} not started" if tally.not_started else ""
    return f"{tally.done} done, {tally.skipped} skipped, {tally.failed} failed{rest}"


def _log_line(result: Result) -> str:
    """A result for the log."""
    words = result.status.replace("_", " ")
    line = f"{words} {shown(result.job.source)} → {shown(result.job.target)}"
    if result.target_size is None:
        return line
    width, height = result.target_size
    return f"{line}: {width}×{height} pixels, seed {result.seed}, {result.seconds:.1f} s"


def _any_good(tally: Tally) -> bool:
    return tally.done + tally.skipped > 0


def _stderr(text: str) -> None:
    typer.echo(text, err=True)


def _stdout(text: str) -> None:
    """Print a result. A reader that has gone (`| head`) does not stop the work."""
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
