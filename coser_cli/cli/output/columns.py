"""Rows of text as aligned columns."""

from __future__ import annotations

from collections.abc import Sequence

Cells = tuple[str, ...]


def plain_columns(rows: Sequence[Cells]) -> str:
    """Rows of equally many cells as aligned text: the first column to the left, numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.rjust(width) if index and _is_number(rows, index) else text.ljust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _is_number(rows: Sequence[Cells], column: int) -> bool:
    return all(not row[column] or row[column][0] in "0123456789-" for row in rows[1:])
