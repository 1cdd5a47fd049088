"""`coser compare`: two pictures on one page, with a slider between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.page_files import Made, PageOutput, PageOverwrite, PageRun


def compare(
    before: Annotated[
        Path,
        typer.Argument(metavar="A", help="The picture on the left: before.", readable=False),
    ],
    after: Annotated[
        Path,
        typer.Argument(
            metavar="B",
            help="The picture on the right: after. Its size decides; A is resized to it by "
            "bicubic interpolation, and the page says so.",
            readable=False,
        ),
    ],
    output: PageOutput = None,
    overwrite: PageOverwrite = False,
    max_side: Annotated[
        int,
        typer.Option(
            "--max-side",
            min=64,
            max=16384,
            help="Reduce larger pictures to this many pixels per side; the page says so.",
            rich_help_panel=options.IN_OUT,
        ),
    ] = 4096,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write one HTML page with a slider between two pictures: B_compare.html beside B."""

    def plan() -> Path:
        from coser_cli.batch.jobs import plan_page

        return plan_page(output, after.with_name(f"{after.stem}_compare.html"), [before, after])

    def make(_: Path) -> Made:
        from coser_cli.pages.compare import compare_page

        page = compare_page(before, after, max_side)
        facts = {
            "before_size": list(page.before_size),
            "after_size": list(page.after_size),
            "shown_size": list(page.shown_size),
        }
        return Made(page.html, facts, page.notes)

    sizes = dict.fromkeys(("before_size", "after_size", "shown_size"))
    facts = {"before": str(before), "after": str(after), **sizes}
    PageRun("compare", as_json, quiet, facts).run(plan, make, overwrite=overwrite)
