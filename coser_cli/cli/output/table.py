"""The table that ends a run of several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coser_cli.errors import shown

if TYPE_CHECKING:
    from rich.table import Table

    from coser_cli.batch.results import Result

MAX_ROWS = 50
"""Of more pictures, only those with a problem or a note are listed."""
HEADINGS = ("picture", "status", "size", "seconds", "")


def listed(results: Sequence[Result]) -> tuple[list[Result], int]:
    """The results to show, and how many are left out."""
    if len(results) <= MAX_ROWS:
        return list(results), 0
    notable = [r for r in results if r.status not in ("done", "skipped") or r.error or r.notes]
    shown_results = notable[:MAX_ROWS]
    return shown_results, len(results) - len(shown_results)


def rich_table(results: Sequence[Result]) -> Table:
    """The table for a terminal; its last column is the error, or how many notes there were."""
    from rich.markup import escape
    from rich.table import Table

    shown_results, left_out = listed(results)
    table = Table(box=None, pad_edge=False, caption=f"and {left_out} more" if left_out else None)
    for heading in HEADINGS:
        right = heading in ("size", "seconds")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for result in shown_results:
        notes = len(result.notes)
        remark = "" if not notes else "1 note" if notes == 1 else f"{notes} notes"
        cells = (
            shown(result.job.source),
            result.status.replace("_", " "),
            str(result.target_size or ""),
            f"{result.seconds:.1f}" if result.status in ("done", "failed") else "",
            remark if result.error is None else result.error.message,
        )
        table.add_row(*map(escape, cells))
    return table
