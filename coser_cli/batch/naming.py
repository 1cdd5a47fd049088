"""Names of results, from a template and what is known of each picture."""

from __future__ import annotations

import os
import string
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coser_cli.errors import InputError, UsageError, shown
from coser_cli.imageio.formats import format_named, format_of
from coser_cli.imageio.sniff import sniff
from coser_cli.size import Size

if TYPE_CHECKING:
    from coser_cli.batch.fit import Fit
    from coser_cli.batch.inputs import Source

SAME = "same"
FIELDS = ("stem", "scale", "ext", "width", "height", "model", "seed", "index", "frame")


class _Scale(float):
    """A scale that formats as briefly as it can: 4, 2.5."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec or "g")


@dataclass(frozen=True)
class Naming:
    """How results are called. Raises `UsageError` for a template that cannot name a file.

    `template` has fields of `FIELDS` in braces; None is the default, which ends in the scale or in
    the label of `fit`. `format` decides the extension, PNG if None; "same" is that of each input,
    where results can have it.
    """

    scale: float = 4.0
    template: str | None = None
    format: str | None = None
    fit: Fit | None = None
    model: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.template is None:
            return
        _check(self.template)
        ext = ".png" if self.format == SAME else format_named(self.format or "PNG").suffixes[0]
        sample = self._filled(self.template, "stem", 1, "1", Size(1, 1), ext)
        output_format = None if self.format in (None, SAME) else format_named(str(self.format))
        if output_format is not None and format_of(Path(sample)) != output_format:
            raise UsageError(
                f"--name {shown(self.template)} is no name for {self.format}", "end it in {ext}"
            )

    def ext(self, source: Source) -> str:
        """Extension of a source's result, with its dot."""
        if self.format == SAME:
            return _suffix_of(source.path)
        return format_named(self.format or "PNG").suffixes[0]

    def default(self, ending: str | None, frames: int) -> str:
        """The template where none is given; frames get numbers."""
        if ending is None:
            ending = "_{scale}x" if self.fit is None else f"_{self.fit.label}"
        return "{stem}" + ("-{frame}" if frames > 1 else "") + ending + "{ext}"

    def name(self, source: Source, index: int, ending: str | None = None) -> str:
        """File name of the result of `source`, the `index`-th picture counted from 1."""
        template = self.template or self.default(ending, source.frames)
        frame = 1 if source.frame is None else source.frame + 1
        number = f"{frame:0{len(str(source.frames))}d}"
        names = {field for _, field, _, _ in string.Formatter().parse(template)}
        needs_size = names & {"width", "height"} or ("scale" in names and self.fit is not None)
        size = self._measured(source) if needs_size else Size(0, 0)
        return self._filled(template, source.stem, index, number, size, self.ext(source))

    def _measured(self, source: Source) -> Size:
        """Size of the picture; 0×0 where it cannot be read, which its job will report."""
        from coser_cli.imageio.header import read_header

        try:
            return read_header(source.path, source.frame).size
        except InputError:
            return Size(0, 0)

    def _filled(
        self, template: str, stem: str, index: int, frame: str, size: Size, ext: str
    ) -> str:
        scale = self.scale
        if self.fit is not None and size.area:
            try:
                scale = self.fit.scale(size)
            except InputError:  # its job will say so
                scale = 0.0
        values: dict[str, Any] = {
            "stem": stem,
            "scale": _Scale(scale),
            "ext": ext,
            "width": round(size.width * scale),
            "height": round(size.height * scale),
            "model": self.model,
            "seed": self.seed,
            "index": index,
            "frame": frame,
        }
        try:
            return template.format(**values)
        except (ValueError, TypeError) as error:
            raise UsageError(f"--name {shown(template)}: {error}", "as in {index:04d}") from None


def _suffix_of(path: Path) -> str:
    """The extension of a picture's own format; PNG's where that is not written."""
    try:
        row = format_named(sniff(path) or "")
    except (OSError, UsageError):  # reading it will say so
        return ".png"
    suffix = path.suffix.lower()
    return suffix if suffix in row.suffixes else row.suffixes[0]


def _check(template: str) -> None:
    """`UsageError` unless it names a file by known fields only."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"--name {shown(template)}: {error}", "write {{ for a brace") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or conversion or "{" in (spec or "")):
            raise UsageError(
                f"--name {shown(template)}: unknown field {{{field}}}",
                f"known are {', '.join(FIELDS)}",
            )
    separators = [sep for sep in (os.sep, os.altsep) if sep]
    if any(sep in template for sep in separators):
        raise UsageError(f"--name {shown(template)} has a folder in it", "name the folder with -o")
    if template.startswith("."):
        raise UsageError(f"--name {shown(template)} makes hidden files", "begin it otherwise")
