"""Progress of work that is counted: a bar on a terminal, a line for each part elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import typer

from coser_cli.cli.output.bars import Bars

Result = TypeVar("Result")


class Counted:
    """Says on stderr what comes next; a context manager round the work. `quiet` says nothing."""

    def __init__(self, unit: str, *, quiet: bool) -> None:
        self._unit, self._quiet = unit, quiet
        self._bars: Bars | None = None

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def begin(self, done: int, total: int, words: str) -> None:
        """The part after `done` of `total` begins; `words` describe it where there is no bar."""
        if self._quiet:
            return
        if not sys.stderr.isatty():
            if words:
                typer.echo(words, err=True)
            return
        if self._bars is None:
            self._bars = Bars(total, unit=self._unit)
        self._bars.count(done)

    def results(self, results: Iterable[Result]) -> Iterator[Result]:
        """The same results, with room on the terminal while each is printed."""
        for each in results:
            if self._bars is None:
                yield each
            else:
                with self._bars.paused():
                    yield each

    def close(self) -> None:
        """No more bar; the next part begins a new one."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None
