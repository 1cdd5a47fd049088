"""Markdown of the kind that `docs.py` is written in → roff for manual pages, in plain ASCII."""

from __future__ import annotations

import re
from collections.abc import Iterator

_INLINE = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|\[(?P<link>[^\]]+)\]\([^)]*\)")


def from_markdown(text: str) -> Iterator[str]:
    """Lines of roff. Knows headings, paragraphs, `-` lists, fenced code, tables of two columns.

    Raises ValueError for a table of another width: it would be unreadable.
    """
    for block in _blocks(text):
        first = block[0]
        if first.startswith("#"):
            level, _, title = first.partition(" ")
            yield f".{'SH' if len(level) == 2 else 'SS'} {inline(title).upper()}"
        elif first.startswith("```"):
            yield from code(block[1:-1])
        elif first.startswith("|"):
            yield from _table(block)
        elif first.startswith("- "):
            yield from _list(block)
        else:
            yield ".PP"
            yield line(inline(" ".join(block)))


def inline(text: str) -> str:
    """One line with code and emphasis in bold, and links as their text."""
    parts, end = [], 0
    for match in _INLINE.finditer(text):
        parts.append(escaped(text[end : match.start()]))
        bold = match["code"] or match["bold"]
        parts.append(f"\\fB{escaped(bold)}\\fR" if bold else escaped(match["link"]))
        end = match.end()
    return "".join([*parts, escaped(text[end:])])


def escaped(text: str) -> str:
    """Text as roff shows it letter by letter: no hyphenation dashes, no escapes, ASCII."""
    plain = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    )
    plain = plain.replace("^", "\\(ha").replace("~", "\\(ti")
    return "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in plain)


def line(text: str) -> str:
    """An escaped line that is text even where it begins like a request."""
    return f"\\&{text}" if text.startswith(".") else text


def code(lines: list[str]) -> Iterator[str]:
    """Lines shown as they are, indented."""
    yield from (".PP", ".RS 4", ".nf")
    yield from (line(escaped(each)) for each in lines)
    yield from (".fi", ".RE")


def _blocks(text: str) -> Iterator[list[str]]:
    """Runs of lines between empty ones; fenced code is one block, whatever is in it."""
    block: list[str] = []
    fenced = False
    for each in [*text.splitlines(), ""]:
        if each.startswith("```"):
            fenced = not fenced
        if each.strip() or fenced:
            block.append(each)
        elif block:
            yield block
            block = []


def _list(block: list[str]) -> Iterator[str]:
    items: list[str] = []
    for each in block:
        if each.startswith("- "):
            items.append(each[2:])
        else:
            items[-1] += f" {each.strip()}"
    for item in items:
        yield ".IP \\(bu 2"
        yield line(inline(item))


def _table(block: list[str]) -> Iterator[str]:
    rows = [re.split(r"(?<!\\)\|", each.strip())[1:-1] for each in block]
    for row in rows[2:]:  # after the head and its rule
        if len(row) != 2:
            raise ValueError(f"a table of {len(row)} columns: {row}")
        name, meaning = (cell.strip().replace("\\|", "|") for cell in row)
        yield from (".TP", line(inline(name)), line(inline(meaning)))
