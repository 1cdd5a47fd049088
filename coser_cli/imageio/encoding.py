"""How files are written: format, quality, chroma and metadata, as the user asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from coser_cli.errors import UsageError
from coser_cli.imageio.formats import Format

Chroma = Literal["444", "420"]


@dataclass(frozen=True)
class Encoding:
    """Choices for lossy formats, and whether metadata is written. `None` is the format's default.

    `quality` is 1 to 100. `lossless` is WebP's own lossless coding. `strip_metadata` leaves EXIF,
    XMP and resolution out; the colour profile stays, without which colours would change.
    """

    quality: int | None = None
    chroma: Chroma | None = None
    lossless: bool = False
    strip_metadata: bool = False

    def options(self, row: Format) -> dict[str, Any]:
        """Arguments of Pillow's `save` for this format; `UsageError` if it cannot do as asked."""
        options = dict(row.options)
        if "quality" not in options:
            return options  # lossless formats: whatever is asked for is kept
        if self.lossless:
            if row.name != "WEBP":
                raise UsageError(f"{row.name} has no lossless mode here", "use WebP, PNG or TIFF")
            return {"lossless": True, "exact": True}
        if self.quality is not None:
            options["quality"] = self.quality
        if row.name == "WEBP":
            if self.chroma == "444":
                raise UsageError("lossy WebP is always 4:2:0", "add --lossless, or use JPEG")
        elif self.chroma is not None:
            options["subsampling"] = "4:4:4" if self.chroma == "444" else "4:2:0"
        return options

    def idle(self, rows: Iterable[Format]) -> str:
        """What of the user's choices changes no file of these formats, in words; "" if all do."""
        rows = list(rows)
        lossy = [row for row in rows if "quality" in row.options]
        names = "--quality" if self.quality is not None else ""
        if self.chroma is not None:
            names += " and --chroma" if names else "--chroma"
        if not names or not rows or (lossy and not self.lossless):
            return ""
        verb = "have" if " and " in names else "has"
        kinds = "with --lossless" if lossy else "on " + " and ".join(row.name for row in rows)
        return f"{names} {verb} no effect {kinds}"


DEFAULT = Encoding()
