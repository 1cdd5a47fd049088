"""The options about files in and out, declared once for every command that makes pictures.

A command takes them all as one parameter, `files: Files`, under the decorator `with_groups`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from coser_cli.cli.options.common import file_option
from coser_cli.cli.options.declare import options_of
from coser_cli.errors import UsageError
from coser_cli.imageio.encoding import Chroma, Encoding
from coser_cli.imageio.formats import FORMATS

if TYPE_CHECKING:
    from coser_cli.batch.fit import Fit

format_option = options_of("Format and name")
_MAX_SIDE = 2**20


@dataclass(frozen=True)
class Files:
    """The values of the options about files."""

    recursive: Annotated[
        bool,
        file_option("Look into sub-folders, too; their tree is kept below -o.", "--recursive -r"),
    ] = False
    from_file: Annotated[
        str | None,
        file_option(
            "Also take the inputs named in this file, or on stdin where it is -: one a line, "
            "or ended by NUL.",
            metavar="LIST",
        ),
    ] = None
    all_frames: Annotated[
        bool, file_option("Enlarge every frame of an animation and page of a TIFF.", "--all-frames")
    ] = False
    width: Annotated[
        int | None, file_option("Make results this wide, instead of -s.", min=1, max=_MAX_SIDE)
    ] = None
    height: Annotated[
        int | None,
        file_option(
            "Make results this high, instead of -s; with --width: as large as fits into both.",
            min=1,
            max=_MAX_SIDE,
        ),
    ] = None
    max_side: Annotated[
        int | None,
        file_option(
            "Make the longer side this long, instead of -s.", min=1, max=_MAX_SIDE, metavar="PIXELS"
        ),
    ] = None
    name: Annotated[
        str | None,
        format_option(
            "Call results so, as in '{stem}_{scale}x{ext}'; also width, height, model, seed, "
            "index and frame.",
            metavar="TEMPLATE",
        ),
    ] = None
    format: Annotated[
        str | None,
        format_option(
            f"Write {', '.join(row.name.lower() for row in FORMATS)}, or same (as the input); "
            "default: png, or by the extension of -o FILE.",
            metavar="FORMAT",
        ),
    ] = None
    quality: Annotated[
        int | None,
        format_option(
            "Quality of JPEG, WebP and AVIF; default 95, of AVIF 90.",
            min=1,
            max=100,
            envvar="COSER_QUALITY",
        ),
    ] = None
    chroma: Annotated[
        Chroma | None,
        format_option(
            "Keep colours of JPEG and AVIF at full (444, the default) or half resolution.",
            envvar="COSER_CHROMA",
        ),
    ] = None
    lossless: Annotated[bool, format_option("Write WebP losslessly.", "--lossless")] = False
    strip_metadata: Annotated[
        bool,
        format_option(
            "Leave EXIF, GPS, XMP and resolution out; the colour profile stays.", "--strip-metadata"
        ),
    ] = False

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.quality, self.chroma, self.lossless, self.strip_metadata)

    def fit(self, ctx: typer.Context) -> Fit | None:
        """The size that is asked for instead of a scale; `UsageError` where both are given."""
        from coser_cli.batch.fit import Fit

        if self.width is None and self.height is None and self.max_side is None:
            return None
        source = ctx.get_parameter_source("scale")
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError("-s goes with none of --width, --height and --max-side", "choose one")
        return Fit(self.width, self.height, self.max_side)
