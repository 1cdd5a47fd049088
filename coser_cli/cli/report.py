"""Results → text or JSON Lines on stdout; messages and progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from coser_cli.cli.records import error_record, image_record, plan_record, plan_text
from coser_cli.errors import CoserError, Exit, shown

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from coser_cli.engine.jobs import Job
    from coser_cli.engine.planning import Plan
    from coser_cli.engine.results import Result, Tally

JSON_VERSION = 1
STAGES = {
    "prepare": "preparing",
    "enlarge": "enlarging",
    "encode": "encoding",
    "understand": "understanding",
    "imagine": "imagining the reference",
    "restore": "restoring",
    "decode": "decoding",
    "write": "writing",
    "spread": "pictures done",
}


class Reporter:
    """Says what happens: one per command, used as a context manager round the run.

    stdout carries results only (paths, or JSON Lines with `as_json`), stderr everything else.
    `quiet` leaves nothing but errors, and the JSON where that was asked for. Without `results`
    stdout is left alone, since a picture goes there.
    """

    def __init__(self, *, as_json: bool, quiet: bool, results: bool = True) -> None:
        self._results = results
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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the bar; an error that ends the run still gets its JSON summary."""
        self._stop_bar()
        if self._as_json and isinstance(error, CoserError):
            self._summary("error", error.exit_code, error)

    def begin(self, total: int, tally: Tally) -> None:
        """Say how many jobs there will be, and where they are counted."""
        self._total = total
        self._tally = tally

    def message(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        if not self._quiet:
            _stderr(text)

    def hint(self, text: str) -> None:
        """A line for someone who sits and waits: on a terminal only."""
        if self._live:
            _stderr(text)

    def start(self, job: Job) -> None:
        """A job begins."""
        self._started += 1
        self._name = f"{self._started}/{self._total} {job.source.name}"
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
        if result.error is not None:
            _stderr(f"coser: {result.error}")
        elif result.status == "skipped":
            there = shown(result.job.target)
            self.message(f"skipped {shown(result.job.source)}: {there} exists (--overwrite)")
        for note in result.notes:
            self.message(f"note on {shown(result.job.source)}: {note}")
        if result.scores is not None:
            self.message(_scores(result))
        if self._as_json:
            _stdout(json.dumps(image_record(result)))
        elif result.error is None and self._results and not self._quiet:
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
        _stderr(f"coser: {error}")
        if self._as_json:
            _stdout(json.dumps({"type": "problem", "error": error_record(error)}))

    def end(self, tally: Tally) -> None:
        """All jobs have ended."""
        if self._as_json:
            status = "success" if not tally.failed else "partial" if _any_good(tally) else "error"
            self._summary(status, tally.exit_code)
        elif self._total > 1:
            self.message(_counts(tally))

    def interrupted(self) -> None:
        """Ctrl-C: say how far it got and how it goes on."""
        self._stop_bar()
        done = self._tally.done + self._tally.skipped if self._tally else 0
        _stderr(
            f"coser: stopped after {done} of {self._total}; run the same command again to continue"
        )
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
            "seconds": round(time.monotonic() - self._began, 3),
            "error": None if error is None else error_record(error),
        }
        _stdout(json.dumps(record))

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
    return f"{tally.done} done, {tally.skipped} skipped, {tally.failed} failed"


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
