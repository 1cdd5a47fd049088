"""What can go wrong for a user, and the exit code it becomes: the only exit codes there are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path


class Exit(IntEnum):
    """Exit codes of `coser`; `docs/cli.md` explains them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    WEIGHTS = 3
    DEVICE = 4
    INTERRUPTED = 130


class CoserError(Exception):
    """An error that the user can act on: what happened (`message`) and what helps (`hint`).

    The library raises it; `coser_cli.cli.app.main` catches it once and ends with `exit_code`.
    """

    exit_code: ClassVar[Exit] = Exit.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.is_reported = False
        """Whether it has been printed as JSON."""

    def __str__(self) -> str:
        """One line: the message, then the hint."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InputError(CoserError):
    """A picture cannot be read, enlarged or written; the other pictures go on."""

    exit_code = Exit.FAILED


class UsageError(CoserError):
    """An option, a setting or their combination is wrong; nothing has run."""

    exit_code = Exit.USAGE


class WeightsError(CoserError):
    """Weights are missing, unreachable, refused or damaged."""

    exit_code = Exit.WEIGHTS


class DeviceError(CoserError):
    """The device cannot be used, or its memory cannot hold the work."""

    exit_code = Exit.DEVICE


class CoserWarning(UserWarning):
    """Something is done in another way than was meant, and the result is right nevertheless."""


def warn_in_one_line() -> None:
    """From now on show a `CoserWarning` as a line for the user, without its place in the code."""
    warnings.formatwarning = _formatted


_usual_format = warnings.formatwarning


def _formatted(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    if issubclass(category, CoserWarning):
        return f"coser: {message}\n"
    return _usual_format(message, category, filename, lineno, line)


def shown(path: object) -> str:
    """A path for a one-line message: quoted, with line breaks and control characters escaped."""
    text = str(path)
    return f"'{text}'" if text.isprintable() and "'" not in text else repr(text)


def reason_of(error: OSError | ValueError) -> str:
    """The system's words for an error, in lower case."""
    return (getattr(error, "strerror", None) or str(error)).lower()


@contextmanager
def reading(path: Path | str, kind: type[CoserError], hint: str = "") -> Iterator[None]:
    """An `OSError` within it becomes a `kind` that names the file."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot read {shown(path)}: {reason_of(error)}", hint) from error


@contextmanager
def writing(path: Path, kind: type[CoserError], hint: str = "") -> Iterator[None]:
    """The same, where the file is written."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot write {shown(path)}: {reason_of(error)}", hint) from error


class SourceError(WeightsError):
    """This source will not do, now or in a minute; another may."""
