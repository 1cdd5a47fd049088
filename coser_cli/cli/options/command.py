"""Commands as Typer makes them, with plain help and errors in one style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from coser_cli.cli.options.plain import spare_validators
from coser_cli.cli.output.errors import closest
from coser_cli.cli.output.help import command_help, group_help
from coser_cli.errors import Exit, UsageError

EXAMPLES = (
    ("coser photo.jpg", "photo_4x.png beside it"),
    ("coser *.jpg -s 2 -o enlarged/", "many, twice as large, into a folder"),
    ("coser photos/ -r --max-side 4000 --format jpeg", "a whole tree, by size"),
    ("coser tile huge.jpg --max-memory 4GiB", "a large photo in bounded memory"),
    ("coser info photo_4x.png", "how it was made"),
    ("coser compare photo.jpg photo_4x.png", "a page with a slider"),
)


class Command(TyperCommand):
    """A command with plain help."""

    often: ClassVar[Sequence[str]] = ()
    """The parameters that `--help` shows; all, where there are none."""

    def get_params(self, ctx: Any) -> list[Any]:
        return spare_validators(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(command_help(ctx, self.often, everything=False))


class Group(TyperGroup):
    """A command of commands, with plain help."""

    def get_params(self, ctx: Any) -> list[Any]:
        return spare_validators(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(group_help(ctx, () if ctx.parent else EXAMPLES))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without a command, show the help and end with 2."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(Exit.USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that is named first. Raises `UsageError` where there is none of its name."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not ctx.resilient_parsing:
            hint = closest(args[0], known) or f"there are {', '.join(known)}"
            raise UsageError(f"there is no command {args[0]!r} of `{ctx.command_path}`", hint)
        return super().resolve_command(ctx, args)


class PictureCommand(Command):
    """A command that makes pictures: many options, of which few are used often."""

    often = (
        "scale",
        "output",
        "overwrite",
        "recursive",
        "max_side",
        "format",
        "quality",
        "compare",
        "fast",
        "best",
        "strength",
        "steps",
        "seed",
        "reference",
        "save_reference",
        "model",
        "device",
        "max_memory",
        "dry_run",
        "as_json",
    )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse after giving a bare `--save-reference` its empty value."""
        return super().parse_args(ctx, list(_with_optional_dir(args)))


def show_everything(ctx: typer.Context, requested: bool) -> bool:
    """`--help-all`."""
    if requested and not ctx.resilient_parsing:
        often = getattr(ctx.command, "often", ())
        typer.echo(command_help(ctx, often, everything=True))
        raise typer.Exit
    return requested


def _with_optional_dir(args: list[str]) -> Iterable[str]:
    """`--save-reference` takes the next word only where that can be nothing but a folder.

    Typer knows no options with an optional value. Pictures never are folders, so a word that is a
    folder, ends in a slash, or neither exists nor has an extension is meant as one.
    """
    rest = iter(enumerate(args))
    for index, word in rest:
        if word == "--":
            yield from args[index:]
            return
        if word != "--save-reference":
            yield word
            continue
        following = args[index + 1] if index + 1 < len(args) else ""
        if _names_a_folder(following):
            next(rest)
            yield f"{word}={following}"
        else:
            yield f"{word}="


def _names_a_folder(word: str) -> bool:
    if not word or word.startswith("-"):
        return False
    path = Path(word)
    return path.is_dir() or word.endswith("/") or not (path.exists() or path.suffix)
