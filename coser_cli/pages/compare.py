"""Pictures of one subject → one page: a slider between two of them, or all side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from coser_cli.imageio.preview import Preview, at_size, data_uri, is_lossless, read_preview
from coser_cli.pages.template import page
from coser_cli.size import Size

DEFAULT_MAX_SIDE = 4096
MAX_PICTURES = len(ascii_uppercase)
# Shapes that differ by less are a matter of rounding to whole pixels.
_ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Comparison:
    """A finished page, the sizes of the pictures in their order, the size at which they are shown,
    and what to know about it.
    """

    html: bytes
    sizes: tuple[Size, ...]
    shown_size: Size
    notes: tuple[str, ...]


def compare_page(paths: Sequence[Path], max_side: int = DEFAULT_MAX_SIDE) -> Comparison:
    """A page that lays the first picture (A, before) over the second (B), whose size decides; what
    follows are further results, to choose from and to show side by side.

    Pictures of another size are resized to B's by bicubic interpolation. All are embedded with at
    most `max_side` pixels per side. Raises `InputError` where a picture cannot be read.
    """
    previews = [read_preview(path, max_side) for path in paths]
    target_size = previews[1].size
    size = target_size.within(max_side)
    names = [path.name for path in paths]
    pictures = []
    for letter, name, preview in zip(ascii_uppercase, names, previews, strict=False):
        role = "before" if letter == "A" else "after" if len(paths) == 2 else "result"
        change = _change(preview.size, target_size)
        pictures.append(
            {
                "letter": letter,
                "name": name,
                "role": role,
                "tag": f"{letter} {change or (name if role == 'result' else role)}",
                "facts": f"{_size_text(preview.size)}, {change}".removesuffix(", "),
                "uri": data_uri(at_size(preview, size)),
            }
        )
    notes = _notes(previews, target_size, size)
    title = f"{', '.join(names[:-1])} and {names[-1]}"
    html = page("compare", title=title, size=size, pictures=pictures, notes=notes)
    return Comparison(html, tuple(each.size for each in previews), size, notes)


def _change(size: Size, target_size: Size) -> str:
    """What is done to a picture, in words; empty where it has the size that decides."""
    if size == target_size:
        return ""
    return "enlarged by bicubic" if target_size.area > size.area else "reduced by bicubic"


def _notes(previews: Sequence[Preview], target_size: Size, size: Size) -> tuple[str, ...]:
    notes = [
        f"{letter} and B differ in shape; {letter} is stretched to B's"
        for letter, each in zip(ascii_uppercase, previews, strict=False)
        if not each.size.has_shape_of(target_size, _ASPECT_TOLERANCE)
    ]
    if size != target_size:
        notes.append(f"All are shown at {_size_text(size)}, reduced from {_size_text(target_size)}")
    if not is_lossless(size):
        notes.append("Embedded as JPEG of quality 95")
    return tuple(notes)


def _size_text(size: Size) -> str:
    return f"{size.width} × {size.height}"
