"""One picture through pipes: `-` as an input is stdin, `-o -` is stdout.

Both become files in a temporary folder, so that everything else works as with any file: the content
decides the format, and stdout receives a whole picture or nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from coser_cli.errors import InputError, UsageError, reason_of, shown

if TYPE_CHECKING:
    from coser_cli.batch.jobs import Job
    from coser_cli.batch.results import Result

STREAM = "-"


class Pipes:
    """The part of a run that goes through stdin and stdout; a context manager around the run.

    `inputs` and `output` replace `-` for the run. Raises `UsageError` where stdin or stdout would
    have two uses.
    """

    def __init__(
        self, inputs: Sequence[Path], output: str | None, from_file: str | None, *, as_json: bool
    ) -> None:
        self._stdin = any(str(path) == STREAM for path in inputs)
        alone = len(inputs) == 1 and from_file is None
        self.to_stdout = output == STREAM or (self._stdin and alone and output is None)
        self._folder: Path | None = None
        self.inputs = list(inputs)
        self.output = output
        if self._stdin and from_file == STREAM:
            raise UsageError("stdin cannot be a picture and a list", "leave one - out")
        if self._stdin and output is None and not alone:
            raise UsageError("the picture from stdin has no folder", "name one with -o")
        if self.to_stdout and as_json:
            raise UsageError("--json and a picture cannot share stdout", "name a file with -o")
        if self.to_stdout and sys.stdout.isatty():
            raise UsageError("a terminal shows no picture", "add > FILE, a pipe, or -o FILE")

    def __enter__(self) -> Pipes:
        if self._stdin or self.to_stdout:
            self._folder = Path(tempfile.mkdtemp(prefix="coser-"))
            os.mkdir(self._folder / "out")
        if self._stdin:
            self.inputs = [self._saved_stdin(path) for path in self.inputs]
        if self.to_stdout:
            self.output = str(self._folder / "out") if self._folder else None
        return self

    def __exit__(self, *error: object) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _saved_stdin(self, path: Path) -> Path:
        """A file with the content of stdin, where the input is `-`."""
        if str(path) != STREAM or self._folder is None:
            return path
        spool = self._folder / "stdin"
        if not spool.exists():
            with spool.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        return spool

    def require_single(self, jobs: Sequence[Job]) -> None:
        """`UsageError` unless stdout would receive exactly one picture."""
        if self.to_stdout and len(jobs) != 1:
            raise UsageError(f"-o - is one picture for {len(jobs)} inputs", "name a folder with -o")
        if self.to_stdout and any(self._is_temporary(path) for path in jobs[0].outputs[1:]):
            raise UsageError(
                "the reference of a picture to stdout has no folder", "use --save-reference=DIR"
            )

    def _is_temporary(self, path: Path) -> bool:
        return self._folder is not None and self._folder in path.parents

    def finish(self, result: Result) -> Result:
        """Write the picture to stdout, and name stdin and stdout in the result as the user did."""
        if self._folder is None:
            return result
        if self.to_stdout and result.status == "done":
            result = _copied_to_stdout(result)
        job, error = result.job, result.error
        if self._is_temporary(job.source):
            if error is not None:
                message = error.message.replace(shown(job.source), "standard input")
                error = type(error)(message, error.hint)
            job = replace(job, source=Path(STREAM))
        if self.to_stdout:
            job = replace(job, target=Path(STREAM))
        return replace(result, job=job, error=error)


def _copied_to_stdout(result: Result) -> Result:
    """Copy a finished picture to stdout; the result has failed where the reader is gone."""
    try:
        with result.job.target.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # or Python complains once more when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        reason = reason_of(error)
        failure = InputError(f"cannot write to standard output: {reason}", "check what reads it")
        return replace(result, status="failed", error=failure)
    return result
