"""`--log FILE`: what happened, in lines with time and level, appended to a file."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Literal

from coser_cli.cli.output.streams import write_line
from coser_cli.errors import UsageError, reason_of, shown

Level = Literal["INFO", "NOTE", "ERROR"]


class RunLog:
    """A file that lines are appended to. Raises `UsageError` where it cannot be opened.

    A line is written at once and whole, so that several runs may share a file. What the log cannot
    take any more (a full disk) is lost, which is said once, and stops no picture.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except (OSError, ValueError) as error:
            reason = reason_of(error)
            raise UsageError(f"cannot write {shown(path)}: {reason}", "check --log") from None
        self._path, self._is_whole = path, True

    def line(self, level: Level, text: str) -> None:
        """Append one line; line breaks in the text become spaces."""
        moment = datetime.now().astimezone().isoformat(timespec="seconds")
        line = f"{moment} {os.getpid()} {level:<5} {' '.join(text.splitlines())}\n"
        try:
            os.write(self._file, line.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if self._is_whole:
                self._is_whole = False
                reason = reason_of(error)
                write_line(f"coser: cannot write {shown(self._path)}: {reason}", err=True)

    def close(self) -> None:
        os.close(self._file)
