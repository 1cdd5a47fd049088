"""The table that ends a run of several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coser_cli.errors import shown

if TYPE_CHECKING:
    from rich.table import Table

    from coser_cli.batch.results import Result

MAX_ROWS = 50
"""Of more pictures, only those with a problem or a note are listed."""
HEADINGS = ("picture", "status", "size", "seconds", "")


@dataclass(frozen=True)
class Row:
    """One picture."""

    picture: str
    status: str
    size: str = ""
    seconds: str = ""
    remark: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        return self.picture, self.status, self.size, self.seconds, self.remark


def row_of(result: Result) -> Row:
    """The row of a result; its remark is the error, or how many notes there were."""
    notes = len(result.notes)
    remark = "" if not notes else "1 note" if notes == 1 else f"{notes} notes"
    return Row(
        shown(result.job.source),
        result.status.replace("_", " "),
        str(result.target_size or ""),
        f"{result.seconds:.1f}" if result.status in ("done", "failed") else "",
        remark if result.error is None else result.error.message,
    )


def listed(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows to show, and how many are left out."""
    if len(rows) <= MAX_ROWS:
        return list(rows), 0
    notable = [row for row in rows if row.status not in ("done", "skipped") or row.remark]
    listed_rows = notable[:MAX_ROWS]
    return listed_rows, len(rows) - len(listed_rows)


def rich_table(rows: Sequence[Row]) -> Table:
    """The table for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    listed_rows, left_out = listed(rows)
    table = Table(box=None, pad_edge=False, caption=f"and {left_out} more" if left_out else None)
    for heading in HEADINGS:
        right = heading in ("size", "seconds")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in listed_rows:
        table.add_row(*(escape(text) for text in row.cells))
    return table
