"""The options about what a run reports, for every command that makes pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from coser_cli.cli.options import common as options
from coser_cli.cli.options.command import show_everything
from coser_cli.cli.output.log import RunLog
from coser_cli.cli.output.pictures import PictureReporter


@dataclass(frozen=True)
class Reporting:
    """The values of the options about reporting, and where a run ends."""

    config: options.Config = None
    quiet: options.Quiet = False
    as_json: options.Json = False
    log: Annotated[
        Path | None,
        options.reporting_option(
            "Append what happens to this file: a line each, with time and level.",
            metavar="FILE",
            envvar="COSER_LOG",
            dir_okay=False,
        ),
    ] = None
    fail_fast: Annotated[
        bool,
        options.reporting_option(
            "End with the first picture that fails; the rest is not started.",
            "--fail-fast",
            envvar="COSER_FAIL_FAST",
        ),
    ] = False

    help_all: Annotated[
        bool,
        options.reporting_option(
            "Show all options, and end.", "--help-all", callback=show_everything, is_eager=True
        ),
    ] = False

    def reporter(self, *, results: bool = True) -> PictureReporter:
        """The reporter of the run. Raises `UsageError` where the log cannot be opened."""
        log = None if self.log is None else RunLog(self.log)
        return PictureReporter(as_json=self.as_json, quiet=self.quiet, results=results, log=log)
