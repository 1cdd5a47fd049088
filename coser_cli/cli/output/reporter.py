"""Messages, progress and JSON Lines of every command: results on stdout, all else on stderr."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from coser_cli.cli.output.bars import Bars, TransferBar
from coser_cli.cli.output.json_lines import error_record, print_record
from coser_cli.cli.output.streams import write_line
from coser_cli.errors import CoserError, CoserWarning, Exit

if TYPE_CHECKING:
    from typing import Self

    from coser_cli.cli.output.log import Level, RunLog


class Reporter:
    """Messages, progress and records of a command; a context manager around its work.

    `quiet` leaves errors and, with `as_json`, JSON Lines. These end with a summary, also where the
    command fails. Bars are drawn on a terminal only. `log` gets every message, and is closed at the
    end.
    """

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, log: RunLog | None = None
    ) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.live = sys.stderr.isatty() and not quiet
        """Whether progress is shown."""
        self.bars: Bars | TransferBar | None = None
        self._log = log
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._shows_warning = warnings.showwarning
        warnings.showwarning = self._warned
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        """Close the bar; an error that ends the command still gets its JSON summary."""
        warnings.showwarning = self._shows_warning
        self.close_bars()
        if isinstance(error, CoserError):
            self.log("ERROR", str(error))
            if self.as_json:
                self.summary("error", error.exit_code, error)
                error.is_reported = True
        elif isinstance(error, KeyboardInterrupt):
            self.interrupted()
        if self._log is not None:
            self._log.close()

    def message(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        self.log("NOTE", text)
        if not self.quiet:
            self._write(text, err=True)

    def hint(self, text: str) -> None:
        """A line for a user who waits: on a terminal only."""
        if self.live:
            self._write(text, err=True)

    def error(self, error: CoserError) -> None:
        self.log("ERROR", str(error))
        self._write(f"coser: {error}", err=True)

    def output(self, text: str) -> None:
        self._write(text)

    def record(self, kind: str, values: Mapping[str, Any]) -> None:
        with self._room():
            print_record(kind, values)

    def log(self, level: Level, text: str) -> None:
        if self._log is not None:
            self._log.line(level, text)

    def begin_part(self, done: int, total: int, unit: str, words: str) -> None:
        """The part after `done` of `total` begins: a bar on a terminal, elsewhere the words."""
        if not self.live:
            if words:
                self.message(words)
            return
        if self.bars is None:
            self.bars = Bars(total, unit=unit)
        if isinstance(self.bars, Bars):
            self.bars.count(done)

    def transfer(self, label: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes are read or fetched."""
        if not self.live:
            return
        if not isinstance(self.bars, TransferBar):
            self.bars = TransferBar()
        self.bars.update(label, done, total)

    def close_bars(self) -> None:
        """No more bars; the next progress draws new ones."""
        if self.bars is not None:
            self.bars.close()
            self.bars = None

    def summary(self, status: str, code: Exit, error: CoserError | None = None) -> None:
        """The last line of `--json`."""
        values = {
            "status": status,
            "exit_code": int(code),
            **self.counts(),
            "seconds": self.seconds,
            "error": None if error is None else error_record(error),
        }
        self.record("summary", values)

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def counts(self) -> dict[str, int]:
        return {}

    def interrupted(self) -> None:
        """Ctrl-C: say how far it got and how it goes on."""
        self.close_bars()
        if text := self.interruption():
            self.log("ERROR", text)
            write_line(f"coser: {text}", err=True)
        if self.as_json:
            self.summary("interrupted", Exit.INTERRUPTED)

    def interruption(self) -> str:
        """What Ctrl-C has done; nothing where `main` says it."""
        return ""

    def _warned(
        self, message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> None:
        """Our own warnings are messages like others; the rest is shown as Python does."""
        if issubclass(category, CoserWarning):
            self.message(f"coser: {message}")
        else:
            self._shows_warning(message, category, *place, **more)

    def _room(self) -> AbstractContextManager[None]:
        return nullcontext() if self.bars is None else self.bars.paused()

    def _write(self, text: str, *, err: bool = False) -> None:
        with self._room():
            write_line(text, err=err)
