"""The root command, and `main`: the one place that turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from coser_cli.cli.options.command import Command, Group, PictureCommand
from coser_cli.cli.options.declare import option
from coser_cli.cli.output.errors import as_coser_error, show_error
from coser_cli.cli.output.streams import flush_stdout, open_missing_streams, write_line
from coser_cli.errors import Exit, warn_in_one_line
from coser_cli.version import __version__

PICTURES = ("upscale", "tile", "reference")
COMMANDS = (
    *PICTURES,
    *("compare", "report", "download-weights", "train", "info", "evaluate", "serve", "bench"),
)
"""In the order of `--help`. Each has a module of its name, with a function or an app."""
ROOT_OPTIONS = ("-h", "--help", "-V", "--version", "--install-completion", "--show-completion")


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"coser {__version__}")
        raise typer.Exit


def make_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The program with these commands: importing and describing all takes as long as a small
    picture.
    """
    app = typer.Typer(
        name="coser",
        cls=Group,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        attribute = name.replace("-", "_")
        command = getattr(import_module(f"coser_cli.cli.{attribute}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command)
        else:
            app.command(cls=PictureCommand if name in PICTURES else Command)(command)
    return app


def _root(
    version: Annotated[
        bool, option("Print the version and end.", "--version -V", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Enlarge photographs: understand them, imagine a reference, restore the detail."""


def main(args: Sequence[str] | None = None) -> int:
    """Run `coser` with `args` (default: the process's own) and return its exit code."""
    open_missing_streams()
    _accept_any_file_name()
    warn_in_one_line()
    words = with_command(sys.argv[1:] if args is None else args)
    _announce_start(words)
    try:
        app = make_app(_commands_for(words))
        code = app(args=words, prog_name="coser", standalone_mode=False)
        return _flush_and_return(code if isinstance(code, int) else Exit.OK)
    except KeyboardInterrupt:
        write_line("coser: interrupted", err=True)
        return _flush_and_return(Exit.INTERRUPTED)
    except SystemExit as end:  # shell completion
        return _flush_and_return(end.code if isinstance(end.code, int) else Exit.OK)
    except Exception as error:
        if os.environ.get("COSER_DEBUG"):
            raise
        failure = as_coser_error(error, words)
        show_error(failure, words)
        return _flush_and_return(failure.exit_code)


def _commands_for(words: Sequence[str]) -> Sequence[str]:
    """The commands that must be known to do what the words say."""
    first = words[0] if words else ""
    if first in ("-V", "--version"):
        return ()
    return (first,) if first in COMMANDS else COMMANDS


def with_command(words: Sequence[str]) -> list[str]:
    """The words with `upscale` before them where no command is named, but a picture or an option:
    `coser photo.jpg`. Raises nothing: what is neither is left to the parser.
    """
    if not words or words[0] in COMMANDS or words[0] in ROOT_OPTIONS:
        return list(words)
    is_input = any(mark in words[0] for mark in "./\\*?[") or os.path.lexists(words[0])
    return ["upscale", *words] if is_input or words[0].startswith("-") else list(words)


def _announce_start(words: Sequence[str]) -> None:
    """Say something within 100 ms on a terminal: typer takes half of that to read its options."""
    runs = len(words) > 1 and words[0] in PICTURES
    if runs and not {"-q", "--quiet", "-h", "--help"}.intersection(words) and sys.stderr.isatty():
        typer.echo("starting ...", err=True)


def _accept_any_file_name() -> None:
    """File names need not be valid text; print their bytes as they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")


def _flush_and_return(code: int) -> int:
    flush_stdout()
    return int(code)
