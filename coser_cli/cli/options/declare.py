"""How every option is declared."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer


def option(text: str, flags: str = "", *, panel: str | None = None, **more: Any) -> Any:
    """An option with its help text; `more` is typer's. `flags` (`"--output -o"`) are needed where
    they are not the parameter's name, and for switches that have no `--no-`; `panel` is the heading
    that the option stands under.
    """
    return typer.Option(*flags.split(), help=text, rich_help_panel=panel, **more)


def options_of(panel: str) -> Any:
    """`option` for one panel of the help page."""
    return partial(option, panel=panel)
