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
from coser_cli.cli.options.command import Command, Group, PictureCommand
from coser_cli.cli.output.errors import as_coser_error, show_error
from coser_cli.cli.output.streams import code_with_losses, lose_stdout, open_closed_streams
from coser_cli.cli.reference import reference
from coser_cli.cli.report import report
from coser_cli.cli.serve import serve
from coser_cli.cli.tile import tile
from coser_cli.cli.train import train
from coser_cli.cli.upscale import upscale
from coser_cli.errors import Exit, warn_in_one_line
from coser_cli.version import __version__

app = typer.Typer(
    name="coser",
    cls=Group,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (upscale, tile, reference):
    app.command(cls=PictureCommand)(command)
for command in (compare, report, download_weights, train, info):
    app.command(cls=Command)(command)
app.add_typer(evaluate)
app.add_typer(serve)
app.add_typer(bench)

PICTURES = ("upscale", "tile", "reference")
ROOT_OPTIONS = ("-h", "--help", "-V", "--version", "--install-completion", "--show-completion")


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
    open_closed_streams(sys.argv[1:] if args is None else args)
    _accept_any_file_name()
    warn_in_one_line()
    words = with_command(sys.argv[1:] if args is None else args)
    _be_heard(words)
    try:
        code = app(args=words, prog_name="coser", standalone_mode=False)
        return _flushed(code if isinstance(code, int) else Exit.OK)
    except SystemExit as end:  # shell completion
        return _flushed(end.code if isinstance(end.code, int) else Exit.OK)
    except Exception as error:
        if os.environ.get("COSER_DEBUG"):
            raise
        failure = as_coser_error(error, words)
        show_error(failure, words)
        return _flushed(failure.exit_code)


def with_command(words: Sequence[str]) -> list[str]:
    """The words with `upscale` before them where no command is named, but a picture or an option:
    `coser photo.jpg`. Raises nothing: what is neither is left to the parser.
    """
    named = {
        "bench",
        *(each.callback.__name__ for each in app.registered_commands if each.callback),
    }
    commands = {name.replace("_", "-") for name in named}
    if not words or words[0] in commands or words[0] in ROOT_OPTIONS:
        return list(words)
    is_input = any(mark in words[0] for mark in "./\\*?[") or os.path.lexists(words[0])
    return ["upscale", *words] if is_input or words[0].startswith("-") else list(words)


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
    except OSError as error:
        lose_stdout(error)
    return code_with_losses(code)
