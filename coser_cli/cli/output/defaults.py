"""What an option's default is in effect: its own, or that of each model."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from coser_cli.config import VARIANTS, Defaults

_OF_THE_MODEL = {each.name for each in fields(Defaults)} - {"negative_prompt"}


def default_of(parameter: Any) -> str:
    """In words, or "" where there is nothing to say. `parameter` is Typer's."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default is None and parameter.name in _OF_THE_MODEL:
        return model_defaults(parameter.name)
    shown = parameter.show_default and parameter.default not in (None, False, "")
    return _text(parameter.default) if shown else ""


def model_defaults(name: str) -> str:
    """The default of a setting in each model: `mini 4, sd21 50`."""
    values = {model: getattr(each.defaults, name) for model, each in VARIANTS.items()}
    known = {model: _text(value) for model, value in values.items() if value is not None}
    return ", ".join(f"{model} {text}" for model, text in known.items())


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
