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


def run_page(
    kind: str,
    reporter: Reporter,
    facts: dict[str, Any],
    plan: Callable[[], Path],
    make: Callable[[Path], PageContent],
    *,
    overwrite: bool,
) -> None:
    """Plan, make and write one page; its path, or its record, goes to stdout.

    `facts` holds the record's own keys, with what is known before. An error still gets its record,
    and is raised.
    """
    target = None
    try:
        target = plan()
        if os.path.lexists(target) and not overwrite:
            reporter.message(f"skipped: {shown(target)} exists (--overwrite)")
            _report(kind, reporter, facts, target, "skipped")
            return
        content = make(target)
        write_page(target, content.html)
    except CoserError as error:
        _report(kind, reporter, facts, target, "failed", error=error)
        error.is_reported = True
        raise
    for note in content.notes:
        reporter.message(f"note: {note}")
    _report(kind, reporter, facts | content.facts, target, "done", content.notes)


def _report(
    kind: str,
    reporter: Reporter,
    facts: dict[str, Any],
    target: Path | None,
    status: str,
    notes: tuple[str, ...] = (),
    error: CoserError | None = None,
) -> None:
    """One line on stdout: the record; or the path of a page that is there."""
    if reporter.as_json:
        record = {
            "target": None if target is None else str(target),
            "status": status,
            "seconds": reporter.seconds,
            **facts,
            "notes": list(notes),
            "error": None if error is None else error_record(error),
        }
        reporter.record(kind, record)
    elif error is None and not reporter.quiet:
        reporter.output(str(target))


def write_page(path: Path, html: bytes) -> None:
    """Write a page, complete or not at all. Raises `InputError` (disk, permission)."""
    from coser_cli.imageio.atomic import atomic_file

    remedy = "check the folder, its permissions and the free space"
    with writing(path, InputError, remedy), atomic_file(path) as file:
        file.write(html)
