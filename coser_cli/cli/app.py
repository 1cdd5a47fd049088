"""The root command, and `main`: the one place that turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from coser_cli.cli.bench import bench
from coser_cli.cli.compare import compare
from coser_cli.cli.download_weights import download_weights
from coser_cli.cli.evaluate import evaluate
from coser_cli.cli.info import info
from coser_cli.cli.options.groups import OptionalDirCommand
from coser_cli.cli.reference import reference
from coser_cli.cli.report import report
from coser_cli.cli.serve import serve
from coser_cli.cli.tile import tile
from coser_cli.cli.train import train
from coser_cli.cli.upscale import upscale
from coser_cli.errors import CoserError, Exit, warn_in_one_line
from coser_cli.version import __version__

app = typer.Typer(
    name="coser",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples: coser upscale photo.jpg -s 4 · coser upscale *.jpg -o enlarged/",
)
app.command(cls=OptionalDirCommand)(upscale)
app.command(cls=OptionalDirCommand)(tile)
app.command()(reference)
app.command()(compare)
app.command()(report)
app.command()(download_weights)
app.command()(train)
app.command()(info)
app.add_typer(evaluate)
app.add_typer(serve)
app.add_typer(bench)

PICTURES = ("upscale", "tile", "reference")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"coser {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Enlarge photographs: understand them, imagine a reference, restore the detail."""


def main(args: Sequence[str] | None = None) -> int:
    """Run `coser` with `args` (default: the process's own) and return its exit code."""
    _accept_any_file_name()
    warn_in_one_line()
    words = sys.argv[1:] if args is None else args
    _be_heard(words)
    try:
        app(args=args, prog_name="coser")
    except SystemExit as end:
        return _flushed(end.code if isinstance(end.code, int) else Exit.OK)
    except CoserError as error:
        if os.environ.get("COSER_DEBUG"):
            raise
        typer.echo(f"coser: {error}", err=True)
        return _flushed(error.exit_code)
    raise AssertionError("typer always ends by SystemExit")


def _be_heard(words: Sequence[str]) -> None:
    """Say something within 100 ms on a terminal: typer takes half of that to read its options."""
    runs = len(words) > 1 and words[0] in PICTURES
    if runs and not {"-q", "--quiet", "-h", "--help"}.intersection(words) and sys.stderr.isatty():
        typer.echo("starting ...", err=True)


def _accept_any_file_name() -> None:
    """File names need not be valid text; print their bytes as they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")


def _flushed(code: int) -> int:
    """Empty stdout now, so that a reader that has gone is no traceback at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(code)
