"""Pictures of one subject → one page: a slider between two of them, or all side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from coser_cli.imageio.preview import Preview, at_size, data_uri, is_lossless, read_preview
from coser_cli.pages.template import Markup, fill, name_text, page
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


@dataclass(frozen=True)
class _Shown:
    """One picture: its letter, role (before, after, result), file, and what is done to it."""

    letter: str
    role: str
    path: Path
    preview: Preview
    change: str

    @property
    def tag(self) -> str:
        """What stands in the picture's corner."""
        name = self.role if self.role in ("before", "after") else name_text(self.path.name)
        return f"{self.letter} {self.change or name}"


def compare_page(paths: Sequence[Path], max_side: int = DEFAULT_MAX_SIDE) -> Comparison:
    """A page that lays the first picture (A, before) over the second (B), whose size decides; what
    follows are further results, to choose from and to show side by side.

    Pictures of another size are resized to B's by bicubic interpolation. All are embedded with at
    most `max_side` pixels per side. Raises `InputError` where a picture cannot be read.
    """
    previews = [read_preview(path, max_side) for path in paths]
    target_size = previews[1].size
    shown = [
        _Shown(letter, _role(index, len(paths)), path, preview, _change(preview.size, target_size))
        for index, (letter, path, preview) in enumerate(
            zip(ascii_uppercase, paths, previews, strict=False)
        )
    ]
    size = target_size.within(max_side)
    notes = _notes(shown, target_size, size)
    names = [name_text(path.name) for path in paths]
    html = page(
        "compare",
        title=f"{', '.join(names[:-1])} and {names[-1]}",
        width=size.width,
        height=size.height,
        choices=_joined(_choice(index, each) for index, each in enumerate(shown)),
        pictures=_joined(_picture(each, size) for each in shown),
        facts=_joined(_facts(each) for each in shown),
        notes=_joined(fill("<p>{{note}}</p>", note=f"{note}.") for note in notes),
    )
    return Comparison(html, tuple(each.size for each in previews), size, notes)


def _role(index: int, count: int) -> str:
    return "before" if index == 0 else "after" if count == 2 else "result"


def _choice(index: int, shown: _Shown) -> Markup:
    option = '<option value="{{index}}">{{letter}} {{name}}</option>'
    return fill(option, index=index, letter=shown.letter, name=name_text(shown.path.name))


def _picture(shown: _Shown, size: Size) -> Markup:
    image = (
        '<img class="picture" data-letter="{{letter}}" data-tag="{{tag}}"'
        ' alt="{{letter}}, {{role}}: {{name}}" width="{{width}}" height="{{height}}"'
        ' draggable="false" src="{{uri}}">'
    )
    return fill(
        image,
        letter=shown.letter,
        tag=shown.tag,
        role=shown.role,
        name=name_text(shown.path.name),
        width=size.width,
        height=size.height,
        uri=data_uri(at_size(shown.preview, size)),
    )


def _facts(shown: _Shown) -> Markup:
    return fill(
        "<div><dt>{{letter}}, {{role}}</dt><dd><b>{{name}}</b>"
        ' <span class="number">{{facts}}</span></dd></div>',
        letter=shown.letter,
        role=shown.role,
        name=name_text(shown.path.name),
        facts=_size_text(shown.preview.size) + (f", {shown.change}" if shown.change else ""),
    )


def _change(size: Size, target_size: Size) -> str:
    """What is done to a picture, in words; empty where it has the size that decides."""
    if size == target_size:
        return ""
    return "enlarged by bicubic" if target_size.area > size.area else "reduced by bicubic"


def _notes(shown: Sequence[_Shown], target_size: Size, size: Size) -> tuple[str, ...]:
    notes = [
        f"{each.letter} and B differ in shape; {each.letter} is stretched to B's"
        for each in shown
        if not each.preview.size.has_shape_of(target_size, _ASPECT_TOLERANCE)
    ]
    if size != target_size:
        notes.append(f"All are shown at {_size_text(size)}, reduced from {_size_text(target_size)}")
    if not is_lossless(size):
        notes.append("Embedded as JPEG of quality 95")
    return tuple(notes)


def _size_text(size: Size) -> str:
    return f"{size.width} × {size.height}"


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("\n".join(parts))
