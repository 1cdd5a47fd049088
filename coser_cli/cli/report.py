"""`coser report`: a gallery page of a whole batch, with timings and failures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.output.reporter import Reporter
from coser_cli.cli.page_files import PageContent, PageOutput, PageOverwrite, run_page
from coser_cli.errors import InputError, UsageError, reading, shown

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder with results, logs, or both.", readable=False)
]
Log = Annotated[
    Path | None,
    options.file_option(
        "Read what `coser upscale --json` printed from this file; default: every .jsonl file "
        "in DIR.",
        metavar="FILE",
    ),
]
Recursive = Annotated[
    bool, options.file_option("Look for pictures in the folders below DIR, too.", "--recursive -r")
]
MaxSide = Annotated[
    int,
    options.file_option("Give the thumbnails at most this many pixels per side.", min=32, max=2048),
]


def report(
    folder: Folder,
    output: PageOutput = None,
    overwrite: PageOverwrite = False,
    log: Log = None,
    recursive: Recursive = False,
    max_side: MaxSide = 360,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write one HTML page about a batch: thumbnails, sizes, timings, failures; DIR/report.html."""

    def plan() -> Path:
        from coser_cli.batch.jobs import plan_page

        if not folder.is_dir():
            raise UsageError(f"{shown(folder)} is no folder", "name the folder of a batch")
        return plan_page(output, folder / "report.html", [] if log is None else [log])

    def make(target: Path) -> PageContent:
        return _page(folder, target, log, max_side, recursive=recursive)

    facts = {"folder": str(folder), "pictures": None, "counts": None}
    reporter = Reporter(as_json=as_json, quiet=quiet)
    run_page("report", reporter, facts, plan, make, overwrite=overwrite)


def _page(
    folder: Path, target: Path, log: Path | None, max_side: int, *, recursive: bool
) -> PageContent:
    from coser_cli.pages.batch_log import find_logs, read_batch
    from coser_cli.pages.report import counts_of, notes_on, report_page

    with reading(folder, InputError, "check its permissions"):
        logs = find_logs(folder) if log is None else [log]
        batch = read_batch(folder, logs, recursive=recursive)
    if not batch.entries:
        raise InputError(
            f"there is nothing to report in {shown(folder)}: no pictures and no records",
            "name the folder of the results, or a log with --log",
        )
    facts = {"pictures": len(batch.entries), "counts": counts_of(batch)}
    return PageContent(report_page(batch, folder, target, max_side), facts, notes_on(batch))
