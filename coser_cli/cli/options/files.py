"""The options about files in and out, declared once for every command that makes pictures.

A command takes them all as one parameter, `files: Files`, under the decorator `with_groups`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coser_cli.cli.options.common import IN_OUT
from coser_cli.errors import UsageError
from coser_cli.imageio.encoding import Chroma, Encoding
from coser_cli.imageio.formats import FORMATS

if TYPE_CHECKING:
    from coser_cli.batch.fit import Fit

FORMAT = "Format and name"
_MAX_SIDE = 2**20


def _option(*flags: str, panel: str = IN_OUT, help: str, **more: Any) -> Any:  # noqa: A002
    return typer.Option(*flags, help=help, rich_help_panel=panel, show_default=False, **more)


@dataclass(frozen=True)
class Files:
    """The values of the options about files."""

    recursive: Annotated[
        bool,
        _option(
            "--recursive", "-r", help="Look into sub-folders, too; their tree is kept below -o."
        ),
    ] = False
    from_file: Annotated[
        str | None,
        _option(
            "--from-file",
            metavar="LIST",
            help="Also take the inputs named in this file, or on stdin where it is -: one a line, "
            "or ended by NUL.",
        ),
    ] = None
    all_frames: Annotated[
        bool,
        _option("--all-frames", help="Enlarge every frame of an animation and page of a TIFF."),
    ] = False
    width: Annotated[
        int | None,
        _option("--width", min=1, max=_MAX_SIDE, help="Make results this wide, instead of -s."),
    ] = None
    height: Annotated[
        int | None,
        _option(
            "--height",
            min=1,
            max=_MAX_SIDE,
            help="Make results this high, instead of -s; with --width: as large as fits into both.",
        ),
    ] = None
    max_side: Annotated[
        int | None,
        _option(
            "--max-side",
            min=1,
            max=_MAX_SIDE,
            metavar="PIXELS",
            help="Make the longer side this long, instead of -s.",
        ),
    ] = None
    name: Annotated[
        str | None,
        _option(
            "--name",
            metavar="TEMPLATE",
            panel=FORMAT,
            help="Call results so, as in '{stem}_{scale}x{ext}'; also width, height, model, seed, "
            "index and frame.",
        ),
    ] = None
    format: Annotated[
        str | None,
        _option(
            "--format",
            metavar="FORMAT",
            panel=FORMAT,
            help=f"Write {', '.join(row.name.lower() for row in FORMATS)}, or same (as the input); "
            "default: png, or by the extension of -o FILE.",
        ),
    ] = None
    quality: Annotated[
        int | None,
        _option(
            "--quality",
            min=1,
            max=100,
            panel=FORMAT,
            envvar="COSER_QUALITY",
            help="Quality of JPEG, WebP and AVIF; default 95, of AVIF 90.",
        ),
    ] = None
    chroma: Annotated[
        Chroma | None,
        _option(
            "--chroma",
            panel=FORMAT,
            envvar="COSER_CHROMA",
            help="Keep colours of JPEG and AVIF at full (444, the default) or half resolution.",
        ),
    ] = None
    lossless: Annotated[
        bool, _option("--lossless", panel=FORMAT, help="Write WebP losslessly.")
    ] = False
    strip_metadata: Annotated[
        bool,
        _option(
            "--strip-metadata",
            panel=FORMAT,
            help="Leave EXIF, GPS, XMP and resolution out; the colour profile stays.",
        ),
    ] = False

    @property
    def encoding(self) -> Encoding:
        """How results are packed."""
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
