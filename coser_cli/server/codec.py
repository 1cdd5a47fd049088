"""Dataclasses ↔ JSON values, checked by their type hints; no pickles.

Written here since file names that are no text (lone surrogates) must pass, which pydantic and
msgspec refuse, and since a command that is only served has no time for their import.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_PLAIN = (str, int, float, bool, type(None))


def to_json(value: Any) -> Any:
    """A dataclass as a dictionary, its fields likewise; a path as its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, _PLAIN):
        return value
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def from_json(cls: type[T], data: Any) -> T:
    """The dataclass `cls` from `to_json`'s dictionary.

    A field with a default may be missing. Raises TypeError or ValueError that name the field where
    something else is missing, unknown or of another type.
    """
    if not isinstance(data, dict):
        raise TypeError(f"{cls.__name__} is no object")
    hints = _hints(cls)  # type: ignore[arg-type]
    unknown = data.keys() - hints.keys()
    if unknown:
        raise TypeError(f"{cls.__name__} has no field {sorted(unknown)[0]!r}")
    return cls(
        **{
            name: _value(hints[name], value, f"{cls.__name__}.{name}")
            for name, value in data.items()
        }
    )


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _value(hint: Any, value: Any, name: str) -> Any:
    """`value` as a field of type `hint`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value, name)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, name)
    if origin in (dict, Mapping):
        _require(isinstance(value, dict), name, "an object")
        return {key: _value(arguments[1], each, name) for key, each in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, value)
    if hint is Path:
        _require(isinstance(value, str), name, "a path")
        return Path(value)
    if hint is float:
        _require(isinstance(value, int | float) and not isinstance(value, bool), name, "a number")
        return float(value)
    if hint is type(None):
        _require(value is None, name, "null")
        return None
    if hint not in _PLAIN:
        raise TypeError(f"{name}: {hint} has no form in JSON")
    _require(type(value) is hint, name, hint.__name__)
    return value


def _first_that_fits(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    problems = []
    for choice in choices:
        try:
            return _value(choice, value, name)
        except (TypeError, ValueError) as error:
            problems.append(str(error))
    raise TypeError(problems[0])


def _tuple(arguments: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    _require(isinstance(value, list), name, "a list")
    if len(arguments) == 2 and arguments[1] is ...:
        return tuple(_value(arguments[0], each, name) for each in value)
    _require(len(value) == len(arguments), name, f"a list of {len(arguments)}")
    return tuple(_value(hint, each, name) for hint, each in zip(arguments, value, strict=True))


def _require(fits: bool, name: str, kind: str) -> None:
    if not fits:
        raise TypeError(f"{name} must be {kind}")
