"""How every option is declared."""

from __future__ import annotations

from typing import Any

import typer


def option(flags: str, panel: str | None, text: str, **more: Any) -> Any:
    """An option with its flags (`"--output -o"`), panel of the help page and help text; `more` is
    typer's."""
    return typer.Option(*flags.split(), help=text, rich_help_panel=panel, **more)


def choose(flags: str, panel: str | None, text: str, **more: Any) -> Any:
    """An option whose default is not shown: there is none, or the text says it."""
    return option(flags, panel, text, show_default=False, **more)
