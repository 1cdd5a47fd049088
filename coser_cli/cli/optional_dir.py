"""An option with an optional value, which Typer does not know: `--save-reference [DIR]`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer
from typer.core import TyperCommand


class OptionalDirCommand(TyperCommand):
    """A command whose `--save-reference` may stand with or without a folder."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse after giving a bare `--save-reference` its empty value."""
        return super().parse_args(ctx, list(_with_optional_dir(args)))  # type: ignore[arg-type]


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
