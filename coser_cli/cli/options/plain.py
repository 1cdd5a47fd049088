"""Values that need no validator: an option that is missing, or text or a number as it should be.

Typer has pydantic check each option, also those that nobody gave, and importing pydantic and
building its validators takes longer than all else that a served command does. What is not plain,
errors above all, is left to Typer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

try:
    from typer._coercion import build_runtime_param
    from typer._param_types import coerce_cli_path
except ImportError:  # a Typer that is made otherwise checks everything itself
    build_runtime_param = None  # type: ignore[assignment]

_PLAIN_NUMBER = {int: r"[0-9]{1,15}", float: r"[0-9]{1,15}(\.[0-9]{1,15})?"}


def spare_validators(params: list[Any]) -> list[Any]:
    """The same options of Typer, which build a validator only for a value that is not plain."""
    for param in params:
        if build_runtime_param is not None and getattr(param, "_runtime_param", ...) is None:
            param._runtime_param = _Plain(param.type_descriptor)
    return params


class _NotPlainError(Exception):
    """A validator has to look at this value."""


class _Plain:
    """In place of Typer's `RuntimeParam`."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command gets it. Raises what Typer raises."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        try:
            return _plain(value, self._descriptor.annotation, self._descriptor.parameter_info)
        except Exception:  # Typer says what is wrong
            return build_runtime_param(self._descriptor).coerce(value, param, ctx)


def _plain(value: Any, annotation: Any, info: Any) -> Any:
    """A value of this type from text, or one that is of it already; raises for all others."""
    if info.parser is None:
        if get_origin(annotation) is list and isinstance(value, list | tuple):
            (each_type,) = get_args(annotation)
            return [_plain(each, each_type, info) for each in value]
        if annotation is str and isinstance(value, str):
            return value
        if get_origin(annotation) is Literal and value in get_args(annotation):
            return value
        if annotation is Path and isinstance(value, str | Path):
            return coerce_cli_path(Path(value), info, path_type=Path)
        if annotation in _PLAIN_NUMBER and not info.clamp:
            return _bounded(_number(value, annotation), info)
    raise _NotPlainError


def _number(value: Any, kind: Any) -> Any:
    if type(value) is kind:
        return value
    if isinstance(value, str) and re.fullmatch(_PLAIN_NUMBER[kind], value):
        return kind(value)
    raise _NotPlainError


def _bounded(value: Any, info: Any) -> Any:
    above = info.min is None or value >= info.min
    if above and (info.max is None or value <= info.max):
        return value
    raise _NotPlainError
