"""The options about files in and out, declared once for every command that makes pictures.

A command takes them all as one parameter, `files: Files`, under the decorator `with_groups`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coser_cli.cli.options import IN_OUT
from coser_cli.cli.pipes import Pipes
from coser_cli.errors import CoserError, UsageError, shown
from coser_cli.imageio.encoding import Chroma, Encoding
from coser_cli.imageio.formats import FORMATS, format_of

if TYPE_CHECKING:
    from coser_cli.engine.jobs import Job, Kind
    from coser_cli.engine.sizes import Fit

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
            "--recursive", "-r", help="Look into sub-folders, too, and keep their tree below -o."
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
            help="Make the longer side of results this long, instead of -s.",
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
            metavar="|".join(row.name.lower() for row in FORMATS),
            panel=FORMAT,
            help="Write results in this format; default: PNG, or by the extension of -o FILE.",
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
            help="Quality of JPEG and WebP (default 95) and AVIF (default 90).",
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
        from coser_cli.engine.sizes import Fit

        if self.width is None and self.height is None and self.max_side is None:
            return None
        source = ctx.get_parameter_source("scale")
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError("-s goes with none of --width, --height and --max-side", "choose one")
        return Fit(self.width, self.height, self.max_side)


@dataclass(frozen=True)
class Planned:
    """What a command is about to do: jobs, inputs that already failed, and how to write."""

    jobs: list[Job]
    problems: list[CoserError]
    notes: list[str]
    fit: Fit | None
    encoding: Encoding
    pipes: Pipes


def make_plan(
    ctx: typer.Context,
    files: Files,
    pipes: Pipes,
    *,
    model: str,
    save_reference: str | None = None,
    kind: Kind = "upscale",
    references: int = 1,
    imported: Sequence[Path] = (),
    compare: bool = False,
) -> Planned:
    """Find the inputs, decide every name, and refuse what cannot be done, before anything runs.

    `references` are written for each input, `imported` are the user's own; `compare` asks for a
    comparison beside each result.
    """
    from coser_cli.engine.inputs import Found, find
    from coser_cli.engine.jobs import plan
    from coser_cli.engine.naming import Naming

    fit = files.fit(ctx)
    values = ctx.params
    naming = Naming(values["scale"], files.name, files.format, fit, model, values["seed"])
    words = [*pipes.inputs, *_listed(files.from_file)]
    if not words:
        raise UsageError("no inputs", "name pictures, folders or patterns, or give --from-file")
    found: Found = find(words, recursive=files.recursive, all_frames=files.all_frames)
    jobs = plan(
        found.sources,
        pipes.output,
        save_reference=save_reference,
        kind=kind,
        references=references,
        imported=imported,
        naming=naming,
        compare=compare,
    )
    pipes.require_single(jobs)
    for row in {job.target.suffix: format_of(job.target) for job in jobs}.values():
        files.encoding.options(row)  # raises where the format cannot do as asked
    return Planned(jobs, found.problems, found.notes, fit, files.encoding, pipes)


def _listed(name: str | None) -> list[Path]:
    """The inputs that a list names; it is read from stdin where it is called "-"."""
    from coser_cli.engine.inputs import read_list

    if name is None:
        return []
    if name == "-":
        return read_list(sys.stdin.buffer.read())
    try:
        return read_list(Path(name).read_bytes())
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"cannot read {shown(name)}: {reason}", "check --from-file") from None
