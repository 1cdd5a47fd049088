"""Standard streams that are closed, or on a full disk: the work goes on, and one line says what is
lost.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from coser_cli.errors import Exit, reason_of

_NAMES = {"stdin": "r", "stdout": "w", "stderr": "w"}
_lost: dict[str, str] = {}
"""Streams that could not be written to, and why."""


def open_closed_streams(words: Sequence[str] = ()) -> None:
    """Give streams that are closed somewhere to go: files opened later would get their numbers.

    A closed standard output is told on stderr, unless the words are quiet.
    """
    for number, (name, mode) in enumerate(_NAMES.items()):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            if name == "stdout" and not {"-q", "--quiet"}.intersection(words):
                typer.echo("coser: standard output is closed: results are not listed", err=True)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, mode, errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)


def say(text: str) -> None:
    """A line on stderr; nothing where it cannot be written to, and nobody can be told."""
    try:
        typer.echo(text, err=True)
    except OSError:
        _to_nowhere(2)


def print_result(text: str) -> None:
    """A line on stdout. A reader that has gone (`| head`), or a full disk, does not stop the work;
    the latter is told once.
    """
    try:
        typer.echo(text)
        sys.stdout.flush()
    except OSError as error:
        lose_stdout(error)


def lose_stdout(error: OSError) -> None:
    """Nothing more goes to stdout: what it still holds would fail again at exit."""
    _to_nowhere(1)
    if not isinstance(error, BrokenPipeError) and "stdout" not in _lost:
        _lost["stdout"] = reason_of(error)
        say(f"coser: cannot write to standard output: {reason_of(error)}; results are not listed")


def code_with_losses(code: int) -> int:
    """The exit code, which is no success where results could not be listed."""
    return int(Exit.FAILED) if _lost and code == Exit.OK else int(code)


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
