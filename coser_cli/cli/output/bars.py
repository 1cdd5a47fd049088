"""Progress bars on a terminal: one for the present picture over all its stages, one for the batch,
or one for a transfer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coser_cli.cli.output.stages import ALMOST, STAGES, Gauge

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

NAME_WIDTH, WORD_WIDTH, BAR_WIDTH = 24, 13, 24
EARLY = 0.1
"""Before this part of a picture is done, the remaining time would be a guess and is not shown."""


def seconds_left(elapsed: float, done: float, rest: float) -> float | None:
    """Remaining seconds at the rate so far; None while too little is done to say."""
    return elapsed / done * rest if done >= EARLY else None


class Bars:
    """Bars for pictures, or for other units. With one picture in `total` there is no bar for the
    batch; where pictures are computed by other processes, there is none for the picture. `expected`
    is for the `Gauge`.
    """

    def __init__(
        self,
        total: int,
        expected: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
        unit: str = "pictures",
    ) -> None:
        self._unit = unit
        self._total, self._clock, self._console = total, clock, console
        self._gauge = Gauge(expected, clock)
        self._drawn: Progress | None = None
        self._rows: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, TaskID] = {}
        self._began = clock()
        self._work_began: float | None = None
        self._name = ""
        self._begun = self._ended = self._skipped = 0
        self._fraction = self._of_picture = self._untimed = 0.0
        self._is_counted = False

    def picture(self, name: str) -> None:
        self._gauge.begin()
        self._begun += 1
        self._name, self._picture_began, self._of_picture = name, self._clock(), 0.0
        if self._total == 1:
            self._show("picture", name, "starting", 0.0, "")
        else:
            self._batch(0.0)

    def stage(self, stage: str, done: int, total: int) -> None:
        """Progress of the present picture; see `engine.progress.Progress`."""
        fraction = self._gauge.update(stage, done, total)
        if self._work_began is None:  # until then the model was loaded: that is no rate
            self._work_began = self._picture_began = self._clock()
            self._untimed = self._of_picture = fraction
        elapsed = self._clock() - self._picture_began
        left = seconds_left(elapsed, fraction - self._of_picture, 1 - fraction)
        self._show("picture", self._name, STAGES[stage], fraction, _left(left))
        self._batch(fraction)

    def count(self, ended: int) -> None:
        """So many pictures have ended in other processes; timing begins with the first call."""
        if not self._is_counted:
            self._is_counted, self._work_began, self._untimed = True, self._clock(), ended
        self._ended = ended
        self._batch(0.0)

    def ended(self, name: str, *, worked: bool) -> None:
        """A picture has ended; it counts for the rate only where it was `worked` on."""
        if not self._is_counted:
            self._ended += 1
            self._skipped += not worked
        if name == self._name:
            self._hide("picture")
        self._batch(0.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Room for lines of text."""
        self._erase()
        try:
            yield
        finally:
            for row, shown in self._rows.items():
                self._draw(row, shown)

    def close(self) -> None:
        self._rows.clear()
        self._erase()

    def _batch(self, fraction: float) -> None:
        """Pictures that ended, and those begun before the present one, count as done: files may be
        written while the next picture is computed.
        """
        if self._total < 2:
            return
        before = self._ended if self._is_counted else max(self._ended, self._begun - 1)
        part = min((before + fraction) / self._total, ALMOST)
        self._fraction = max(self._fraction, part)
        now, timed = self._clock(), before + fraction - self._skipped - self._untimed
        began = self._began if self._work_began is None else self._work_began
        left = seconds_left(now - began, timed, self._total - before - fraction)
        name, elapsed = (
            f"{self._ended} of {self._total} {self._unit}",
            _clock_text(now - self._began),
        )
        self._show("batch", name, elapsed, self._fraction, _left(left))

    def _show(self, row: str, name: str, word: str, fraction: float, left: str) -> None:
        self._rows[row] = {
            "description": _fitted(name, NAME_WIDTH),
            "word": _fitted(word, WORD_WIDTH),
            "completed": fraction,
            "left": left,
        }
        self._draw(row, self._rows[row])

    def _hide(self, row: str) -> None:
        if self._rows.pop(row, None) and self._drawn is not None:
            self._drawn.remove_task(self._tasks.pop(row))

    def _draw(self, row: str, shown: dict[str, Any]) -> None:
        if self._drawn is None:
            self._drawn = _progress(self._console)
            self._drawn.start()
        if row not in self._tasks:
            self._tasks[row] = self._drawn.add_task(total=1.0, **shown)
        else:
            self._drawn.update(self._tasks[row], **shown)

    def _erase(self) -> None:
        """Stop the drawing. It is never started again: rich would move up over what follows it."""
        if self._drawn is not None:
            self._drawn.stop()
        self._drawn, self._tasks = None, {}


class TransferBar:
    """A bar for bytes that are read or fetched, with rate and remaining time."""

    def __init__(self) -> None:
        self._drawn: Progress | None = None
        self._label = ""

    def update(self, label: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes; another label begins another bar."""
        if self._drawn is None or label != self._label:
            self.close()
            self._drawn, self._label = _transfer_progress(), label
            self._task = self._drawn.add_task(label, completed=done, total=total)
            self._drawn.start()
        self._drawn.update(self._task, completed=done, total=total)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Room for lines of text; the next update draws the bar again."""
        self.close()
        yield

    def close(self) -> None:
        if self._drawn is not None:
            self._drawn.stop()
            self._drawn = None


def _transfer_progress() -> Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(BAR_WIDTH),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _progress(console: Console | None) -> Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.TextColumn("{task.fields[word]}", markup=False),
        progress.BarColumn(BAR_WIDTH),
        progress.TaskProgressColumn("{task.percentage:>3.0f} %", markup=False),
        progress.TextColumn("{task.fields[left]}", markup=False),
        console=console or Console(file=sys.stderr),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _fitted(text: str, width: int) -> str:
    """Exactly so many characters; a long name keeps its end, by which files differ."""
    safe = "".join(each if each.isprintable() else "?" for each in text)
    return safe.ljust(width) if len(safe) <= width else f"…{safe[1 - width :]}"


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{_clock_text(seconds)} left"


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
