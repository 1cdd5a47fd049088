"""What becomes of each picture, for the commands that make pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coser_cli.batch.events import Advanced, Event, Hint, Note, Started
from coser_cli.cli.output.bars import Bars
from coser_cli.cli.output.json_lines import (
    error_record,
    image_record,
    picture_counts,
    plan_record,
    plan_text,
)
from coser_cli.cli.output.reporter import Reporter
from coser_cli.cli.output.streams import write_line
from coser_cli.cli.output.table import rich_table
from coser_cli.errors import CoserError, shown
from coser_cli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coser_cli.batch.dry_run import Plan
    from coser_cli.batch.results import Result, Tally
    from coser_cli.cli.output.log import RunLog


class PictureReporter(Reporter):
    """Reports each picture. Without `results` stdout gets no paths, since a picture
    goes there.
    """

    def __init__(
        self, *, as_json: bool, quiet: bool, results: bool = True, log: RunLog | None = None
    ) -> None:
        super().__init__(as_json=as_json, quiet=quiet, log=log)
        self._results = results
        self._reported: list[Result] = []
        self._expected: Mapping[str, float] | None = None
        self._total = self._started = self._ended = 0
        self._tally: Tally | None = None

    def expect(self, costs: Mapping[str, float]) -> None:
        """What stages pictures will go through, and their costs: `stages.expected_costs`."""
        self._expected = costs

    def begin(self, total: int, tally: Tally) -> None:
        """Say how many jobs there will be, and where they are counted."""
        self._total = total
        self._tally = tally
        if self.live:
            self.bars = Bars(total, self._expected)
        self.log("INFO", f"coser {__version__} begins with {total} picture{'s' * (total != 1)}")

    def report(self, event: Event) -> None:
        """What a run does; the listener of `batch.workers.run`."""
        match event:
            case Started(job):
                self._started += 1
                self.log("INFO", f"starts {shown(job.source)} ({self._started} of {self._total})")
                if isinstance(self.bars, Bars):
                    self.bars.picture(job.source.name)
            case Advanced("pictures", done, _) if isinstance(self.bars, Bars):
                self.bars.count(done)  # by other processes
            case Advanced(stage, done, total) if isinstance(self.bars, Bars):
                self.bars.stage(stage, done, total)
            case Note(text):
                self.message(text)
            case Hint(text):
                self.hint(text)

    def result(self, result: Result) -> None:
        if isinstance(self.bars, Bars):
            self.bars.ended(result.job.source.name, worked=result.status in ("done", "failed"))
        self._ended += 1
        self._reported.append(result)
        self.log("INFO", _log_line(result))
        if result.error is not None:
            self.error(result.error)
        elif result.status == "skipped":
            source, target = shown(result.job.source), result.job.target
            if target.exists():
                self.message(f"skipped {source}: {shown(target)} exists (--overwrite)")
            else:  # a note says why
                self.message(f"left {source} as it is")
        elif result.status == "done" and self._total > 1 and not (self.live or self.quiet):
            write_line(f"{self._ended} of {self._total}: {_done_line(result)}", err=True)
        for note in result.notes:
            self.message(f"note on {shown(result.job.source)}: {note}")
        if result.scores is not None:
            self.message(_scores(result))
        if self.as_json:
            self.record("image", image_record(result))
        elif result.status in ("done", "skipped") and self._results and not self.quiet:
            for path in result.job.results:
                if result.status == "done" or path.exists():
                    self.output(str(path))

    def plan(self, plan: Plan) -> None:
        if self.as_json:
            self.record("plan", plan_record(plan))
        else:
            self.output(plan_text(plan))

    def problem(self, error: CoserError) -> None:
        """Something that was named could not be looked into; no picture belongs to it."""
        self.error(error)
        if self.as_json:
            self.record("problem", {"error": error_record(error)})

    def planned(self, tally: Tally) -> None:
        if self.as_json:
            self.summary(_status(tally), tally.exit_code)
        elif self._total > 1:
            self.message(f"{tally.done} can be done, {tally.failed} cannot; nothing was written")

    def end(self, tally: Tally) -> None:
        self.close_bars()
        self.log("INFO", f"ends: {_counts(tally)}; exit code {int(tally.exit_code)}")
        if self.as_json:
            self.summary(_status(tally), tally.exit_code)
        if self._total > 1:
            self._table()
            self.message(_counts(tally))

    def counts(self) -> dict[str, int]:
        return picture_counts(self._total, self._tally)

    def interruption(self) -> str:
        done = self._tally.done + self._tally.skipped if self._tally else 0
        return f"stopped after {done} of {self._total}; run the same command again to continue"

    def _table(self) -> None:
        """What became of each picture; on a terminal only, as elsewhere each has had its line."""
        if not self.live or not self._reported:
            return
        from rich.console import Console

        Console(stderr=True, highlight=False).print(rich_table(self._reported))


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


def _status(tally: Tally) -> str:
    if not tally.failed:
        return "success"
    return "partial" if tally.done + tally.skipped else "error"
