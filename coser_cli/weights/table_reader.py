"""Tables of a TOML document as frozen dataclasses, by their type hints; every error names its key.

A field may be called otherwise in the document: `metadata={"key": NAME}`. What a type cannot say, a
dataclass checks in `__post_init__` with `require`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Table = TypeVar("Table")

IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.-]*")
_WORDS = {str: "text", bool: "true or false", int: "a whole number", dict: "a table"}


class TableError(ValueError):
    """What is wrong with one key of one table."""

    def __init__(self, table: str, key: str, problem: str) -> None:
        super().__init__(f"[{table}] {key}: {problem}" if table else f"{key}: {problem}")


class _BadValueError(ValueError):
    """A key and its problem, before it is known in which table."""


def require(condition: object, key: str, problem: str) -> None:
    """Say in `__post_init__` that the value of `key` will not do."""
    if not condition:
        raise _BadValueError(key, problem)


def read_table(cls: type[Table], values: Mapping[str, Any], table: str, **known: Any) -> Table:
    """An instance of the dataclass `cls`; `known` are fields that the table does not hold.

    Strict: raises TableError for a key that is not known, is missing, has another type, or that
    the dataclass refuses.
    """
    hints, unread = get_type_hints(cls), dict(values)
    for field in fields(cls):  # type: ignore[arg-type]
        key = field.metadata.get("key", field.name)
        if field.name in known:
            continue
        if key in unread:
            known[field.name] = _value(hints[field.name], unread.pop(key), table, key)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise TableError(table, key, "is missing")
    if unread:
        raise TableError(table, next(iter(unread)), "is not a known key")
    try:
        return cls(**known)
    except _BadValueError as error:
        *inner, key = str(error.args[0]).split(".")
        raise TableError(".".join([table, *inner]), key, error.args[1]) from None


def _value(hint: Any, value: Any, table: str, key: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):  # X | None
        hint = get_args(hint)[0]
    inside = f"{table}.{key}" if table else key
    if is_dataclass(hint):
        return read_table(hint, _typed(dict, value, table, key), inside)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        return _list(get_args(hint)[0], value, table, key)
    if get_origin(hint) is Mapping:
        values = _typed(dict, value, table, key)
        return (
            _by_name(get_args(hint)[1], values, inside)
            if is_dataclass(get_args(hint)[1])
            else values
        )
    return _typed(hint, value, table, key)


def _list(hint: Any, values: Any, table: str, key: str) -> tuple[Any, ...]:
    """An array of tables, or a list of names, each once."""
    kind, words = (dict, "tables") if is_dataclass(hint) else (str, "names")
    if not isinstance(values, list) or not all(isinstance(v, kind) and v for v in values):
        raise TableError(table, key, f"must be a list of {words}, not {values!r}")
    if kind is dict:
        places = [f"{table}.{key} {number}" for number in range(1, len(values) + 1)]
        return tuple(map(read_table, [hint] * len(values), values, places))
    if len(set(values)) < len(values):
        raise TableError(table, key, "names something twice")
    return tuple(values)


def _by_name(cls: Any, tables: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Named tables; the name becomes the dataclass's first field."""
    name_field = fields(cls)[0].name
    tables_read = {}
    for name, values in tables.items():
        if not IDENTIFIER.fullmatch(name):
            problem = "is no name: letters, digits, '.', '_' and '-' only"
            raise TableError(group, name, problem)
        table = _typed(dict, values, group, name)
        tables_read[name] = read_table(cls, table, f"{group}.{name}", **{name_field: name})
    return tables_read


def _typed(kind: type, value: Any, table: str, key: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TableError(table, key, f"must be {_WORDS[kind]}, not {value!r}")
    if value == "":
        raise TableError(table, key, "must not be empty")
    return value
