"""Two pictures → one page with a slider between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coser_cli.imageio.preview import at_size, data_uri, fitted, is_lossless, read_preview
from coser_cli.pages.template import Markup, fill, name_text, page

DEFAULT_MAX_SIDE = 4096
# Shapes that differ by less are a matter of rounding to whole pixels.
_ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Comparison:
    """A finished page, the sizes (width, height) of what it shows, and what to know about it."""

    html: bytes
    before_size: tuple[int, int]
    after_size: tuple[int, int]
    shown_size: tuple[int, int]
    notes: tuple[str, ...]


def compare_page(before: Path, after: Path, max_side: int = DEFAULT_MAX_SIDE) -> Comparison:
    """A page that lays `before` (A) over `after` (B), whose size decides.

    A of another size is resized to B's by bicubic interpolation. Both are embedded with at most
    `max_side` pixels per side. Raises `InputError` where a picture cannot be read.
    """
    first, second = read_preview(before, max_side), read_preview(after, max_side)
    shown = fitted(second.size, max_side)
    under, over = at_size(second, shown), at_size(first, shown)
    change = _change(first.size, second.size)
    notes = _notes(first.size, second.size, shown)
    html = page(
        "compare",
        title=f"{name_text(before.name)} and {name_text(after.name)}",
        width=shown[0],
        height=shown[1],
        before_uri=data_uri(over),
        after_uri=data_uri(under),
        before_name=name_text(before.name),
        after_name=name_text(after.name),
        before_tag=change or "before",
        after_tag="after",
        before_facts=_size_text(first.size) + (f", {change}" if change else ""),
        after_facts=_size_text(second.size),
        notes=Markup("".join(fill("<p>{{note}}</p>", note=f"{note}.") for note in notes)),
    )
    return Comparison(html, first.size, second.size, shown, notes)


def _change(before: tuple[int, int], after: tuple[int, int]) -> str:
    """What is done to A, in words; empty where it has B's size."""
    if before == after:
        return ""
    larger = after[0] * after[1] > before[0] * before[1]
    return "enlarged by bicubic" if larger else "reduced by bicubic"


def _notes(
    before: tuple[int, int], after: tuple[int, int], shown: tuple[int, int]
) -> tuple[str, ...]:
    notes = []
    if abs(before[0] * after[1] / (before[1] * after[0]) - 1) > _ASPECT_TOLERANCE:
        notes.append("A and B differ in shape; A is stretched to B's")
    if shown != after:
        notes.append(f"Both are shown at {_size_text(shown)}, reduced from {_size_text(after)}")
    if not is_lossless(shown):
        notes.append("Embedded as JPEG of quality 95")
    return tuple(notes)


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
