"""Standard streams that are closed, full, or without a reader do not stop the work."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import typer

from coser_cli.errors import reason_of


def open_missing_streams() -> None:
    """Give closed streams /dev/null, so that no file that is opened later takes their number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    # Python has None where a stream was closed when it started
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def write_line(text: str, *, err: bool = False) -> None:
    """Print a line on stdout, or on stderr; what the stream cannot take is lost."""
    stream = sys.stderr if err else sys.stdout
    try:
        typer.echo(text, err=err)
        stream.flush()
    except OSError as error:
        _abandon(stream, error)


def flush_stdout() -> None:
    """Flush stdout now, so that a reader that is gone causes no traceback at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _abandon(sys.stdout, error)


def _abandon(stream: TextIO, error: OSError) -> None:
    """Write to /dev/null from now on, with one message, unless the reader is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    if stream is sys.stdout and not isinstance(error, BrokenPipeError):
        write_line(f"coser: cannot write to standard output: {reason_of(error)}", err=True)
