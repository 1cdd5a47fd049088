"""`coser compare`: pictures on one page, with a slider between two of them, or side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.output.reporter import Reporter
from coser_cli.cli.page_files import PageContent, PageOutput, PageOverwrite, run_page
from coser_cli.errors import UsageError


def compare(
    before: Annotated[
        Path,
        typer.Argument(metavar="A", help="The picture on the left: before.", readable=False),
    ],
    after: Annotated[
        list[Path],
        typer.Argument(
            metavar="B...",
            help="The picture on the right: after; or several results, to choose from and to show "
            "side by side. The size of the first one decides; others are resized to it by bicubic "
            "interpolation, and the page says so.",
            readable=False,
        ),
    ],
    output: PageOutput = None,
    overwrite: PageOverwrite = False,
    max_side: Annotated[
        int,
        options.file_option(
            "Reduce larger pictures to this many pixels per side; the page says so.",
            min=64,
            max=16384,
        ),
    ] = 4096,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write one HTML page that compares pictures: B_compare.html beside the first B."""

    def plan() -> Path:
        from coser_cli.batch.jobs import plan_page
        from coser_cli.pages.compare import MAX_PICTURES

        if len(after) >= MAX_PICTURES:
            raise UsageError(f"{len(after) + 1} pictures are too many for a page", "compare fewer")
        default = after[0].with_name(f"{after[0].stem}_compare.html")
        return plan_page(output, default, [before, *after])

    def make(_: Path) -> PageContent:
        from coser_cli.pages.compare import compare_page

        page = compare_page([before, *after], max_side)
        facts = {
            "before_size": list(page.sizes[0].wh),
            "after_size": list(page.sizes[1].wh),
            "shown_size": list(page.shown_size.wh),
            "more_sizes": [list(each.wh) for each in page.sizes[2:]],
        }
        return PageContent(page.html, facts, page.notes)

    sizes = dict.fromkeys(("before_size", "after_size", "shown_size", "more_sizes"))
    named = {"before": str(before), "after": str(after[0]), "more": [str(p) for p in after[1:]]}
    reporter = Reporter(as_json=as_json, quiet=quiet)
    run_page("compare", reporter, named | sizes, plan, make, overwrite=overwrite)
