"""What commands that write a page have in common: where it goes, how it is written, its record."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from coser_cli.cli.options import common as options
from coser_cli.cli.output.json_lines import error_record
from coser_cli.cli.output.reporter import Reporter
from coser_cli.errors import CoserError, InputError, shown, writing

PageOutput = Annotated[
    str | None,
    options.file_option(
        "Write to this .html file or into this folder.", "--output -o", metavar="FILE|DIR"
    ),
]
PageOverwrite = Annotated[
    bool,
    options.file_option(
        "Write the page again if it exists; without it, it is kept.", "--overwrite"
    ),
]


@dataclass(frozen=True)
class PageContent:
    """A page's bytes, the facts for its JSON record, and what the user should know."""

    html: bytes
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass
class PageRun:
    """One page from plan to record. `facts` holds the record's own keys, with what is known."""

    kind: str
    reporter: Reporter
    facts: dict[str, Any]

    def run(
        self, plan: Callable[[], Path], make: Callable[[Path], PageContent], *, overwrite: bool
    ) -> None:
        """Plan, make and write the page; its path, or its record, goes to stdout.

        An error still gets its record, and is raised.
        """
        target = None
        try:
            target = plan()
            if os.path.lexists(target) and not overwrite:
                self.reporter.message(f"skipped: {shown(target)} exists (--overwrite)")
                self._record(target, "skipped")
                return
            content = make(target)
            write_page(target, content.html)
        except CoserError as error:
            self._record(target, "failed", error=error)
            error.is_reported = True
            raise
        self.facts |= content.facts
        for note in content.notes:
            self.reporter.message(f"note: {note}")
        self._record(target, "done", content.notes)

    def _record(
        self,
        target: Path | None,
        status: str,
        notes: tuple[str, ...] = (),
        error: CoserError | None = None,
    ) -> None:
        """One line on stdout: the record; or the path of a page that is there."""
        if not self.reporter.as_json:
            if error is None and not self.reporter.quiet:
                self.reporter.output(str(target))
            return
        record = {
            "target": None if target is None else str(target),
            "status": status,
            "seconds": self.reporter.seconds,
            **self.facts,
            "notes": list(notes),
            "error": None if error is None else error_record(error),
        }
        self.reporter.record(self.kind, record)


def write_page(path: Path, html: bytes) -> None:
    """Write a page, complete or not at all. Raises `InputError` (disk, permission)."""
    from coser_cli.imageio.atomic import atomic_file

    remedy = "check the folder, its permissions and the free space"
    with writing(path, InputError, remedy), atomic_file(path) as file:
        file.write(html)
