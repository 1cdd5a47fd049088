"""One table of a TOML document, read key by key: every error names file, table and key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from coser_cli.errors import WeightsError, shown

Value = TypeVar("Value")

IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.-]*")
_REQUIRED: Any = object()


class Fields:
    """The keys of one table that have not been read yet.

    Each reader takes its key out; `end` refuses whatever nobody asked for. A reader's `default`
    stands in for a key that is not there; without one, the key must be.
    """

    def __init__(self, document: Path, table: str, values: Mapping[str, Any]) -> None:
        self.document = document
        self.table = table
        self._values = dict(values)

    def error(self, key: str, problem: str) -> WeightsError:
        """The error that `key` of this table has `problem`."""
        where = f" [{self.table}]" if self.table else ""
        return WeightsError(f"{shown(self.document)}:{where} {key}: {problem}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def _take(self, key: str, kind: type[Value], named: str, default: Any) -> Any:
        if key not in self._values:
            if default is _REQUIRED:
                raise self.error(key, "is missing")
            return default
        value = self._values.pop(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(key, f"must be {named}, not {value!r}")
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        """A string that is not empty."""
        value = self._take(key, str, "text", default)
        if value == "":
            raise self.error(key, "must not be empty")
        return value

    def flag(self, key: str, default: Any = _REQUIRED) -> Any:
        """True or false."""
        return self._take(key, bool, "true or false", default)

    def size(self, key: str, default: Any = _REQUIRED) -> Any:
        """A number of bytes above 0."""
        value = self._take(key, int, "a number of bytes", default)
        if value is not None and value <= 0:
            raise self.error(key, f"must be above 0, not {value}")
        return value

    def matching(self, key: str, pattern: str, named: str, default: Any = _REQUIRED) -> Any:
        """A string that `pattern` matches as a whole."""
        value = self._take(key, str, "text", default)
        if value is not None and not re.fullmatch(pattern, value):
            raise self.error(key, f"must be {named}, not {value!r}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: Any = _REQUIRED) -> Any:
        """One of `choices`."""
        value = self._take(key, str, "text", default)
        if value is not None and value not in choices:
            raise self.error(key, f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    def names(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A list of strings, each once."""
        values = self._take(key, list, "a list of names", default)
        for value in values:
            if not isinstance(value, str) or not value:
                raise self.error(key, f"must hold names only, not {value!r}")
        if len(set(values)) < len(values):
            raise self.error(key, "names something twice")
        return tuple(values)

    def below(self, key: str, default: Any = _REQUIRED) -> Any:
        """A relative path with forward slashes that cannot leave the folder it is put below."""
        value = self.text(key, default)
        if value is not None and not is_below(value):
            raise self.error(key, f"must be a relative path without '..', not {value!r}")
        return value

    def table_of(self, key: str, default: Any = _REQUIRED) -> Fields | None:
        """The table at `key`."""
        value = self._take(key, dict, "a table", default)
        return None if value is None else Fields(self.document, self._path(key), value)

    def tables(self, key: str) -> list[Fields]:
        """The array of tables at `key`, empty if it is not there."""
        values = self._take(key, list, "an array of tables", [])
        found = []
        for index, value in enumerate(values, 1):
            if not isinstance(value, dict):
                raise self.error(key, f"must be an array of tables, not {value!r}")
            found.append(Fields(self.document, f"{self._path(key)} {index}", value))
        return found

    def each(self, key: str, read: Callable[[str, Fields], Value]) -> dict[str, Value]:
        """`read(name, fields)` for each named table below `key`, by name."""
        group = self.table_of(key, None)
        return {} if group is None else dict(group._read_each(read))

    def _read_each(self, read: Callable[[str, Fields], Value]) -> Iterator[tuple[str, Value]]:
        for name in list(self._values):
            if not IDENTIFIER.fullmatch(name):
                raise self.error(name, "is no name: letters, digits, '.', '_' and '-' only")
            fields = self.table_of(name)
            assert fields is not None
            yield name, read(name, fields)
            fields.end()

    def rest(self) -> dict[str, Any]:
        """All keys that have not been read."""
        values, self._values = self._values, {}
        return values

    def end(self) -> None:
        """Raise WeightsError if a key was not read."""
        if self._values:
            raise self.error(next(iter(self._values)), "is not a known key")

    def _path(self, key: str) -> str:
        return f"{self.table}.{key}" if self.table else key


def is_below(text: str) -> bool:
    """Whether a relative POSIX path stays below its folder, on Windows, too."""
    parts = PurePosixPath(text).parts
    odd = "\\" in text or ":" in text or not text.isprintable() or text.endswith("/")
    return bool(parts) and not odd and not text.startswith("/") and ".." not in parts
