"""What has been measured, a row per setting and seed, kept in a file that only grows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from coser_cli.config import ModelConfig
from coser_cli.errors import UsageError, shown, writing
from coser_cli.evaluation.settings_grid import Evaluations
from coser_cli.settings import ResolvedSettings, Settings

VERSION = 1
_HEAD = '{"type": "quality"'
"""How every line begins."""


@dataclass(frozen=True)
class Subject:
    """What is measured: a model by its fingerprint, pictures by their digest, and on what."""

    model: str
    weights: str
    pictures: str
    device: str
    dtype: str


@dataclass(frozen=True)
class Row:
    """One setting with one seed: each metric picture by picture, and seconds per picture."""

    settings: ResolvedSettings
    metrics: Mapping[str, tuple[float, ...]]
    evaluations: Evaluations
    seconds: float


@dataclass
class RowStore:
    """The rows of one subject; in `file`, where one is given, also across runs.

    Rows of other subjects in the file are left alone. Settings are compared as a whole, so that
    fields that did not exist when a row was written count with their defaults.
    """

    subject: Subject
    config: ModelConfig
    file: Path | None = None
    rows: dict[ResolvedSettings, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            for number, line in enumerate(_read(self.file), 1):
                if line.strip():
                    self._take(line, f"{shown(self.file)}, line {number}")

    def add(self, row: Row) -> None:
        """Keep a row, in the file too before this returns. Raises `UsageError`."""
        self.rows[row.settings] = row
        if self.file is None:
            return
        record = {"type": "quality", "version": VERSION, **asdict(self.subject), **asdict(row)}
        with writing(self.file, UsageError, "check --results"), self.file.open("ab+") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                # a run that was killed may have left half a line: it is none of ours
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            stream.write(json.dumps(record).encode() + b"\n")

    def _take(self, line: str, where: str) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            if line[: len(_HEAD)] == _HEAD[: len(line)]:
                return  # cut off while it was written: measured again
            raise UsageError(f"{where}: not JSON", "give another file to --results") from None
        if not isinstance(record, dict) or record.get("type") != "quality":
            raise UsageError(f"{where}: no row of `coser bench quality`", "check --results")
        if any(record.get(key) != value for key, value in asdict(self.subject).items()):
            return
        try:
            row = _row(record, self.config)
        except (KeyError, TypeError, ValueError, UsageError):
            return  # of another version
        self.rows[row.settings] = row


def _row(record: Mapping[str, Any], config: ModelConfig) -> Row:
    values = {key: _frozen(value) for key, value in record["settings"].items()}
    unknown = values.keys() - {each.name for each in fields(Settings)}
    if unknown:
        raise KeyError(*unknown)
    return Row(
        Settings(**values).resolve(config),
        {name: tuple(each) for name, each in record["metrics"].items()},
        Evaluations(**record["evaluations"]),
        float(record["seconds"]),
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UsageError(
            f"cannot read {shown(file)}: {reason.lower()}", "check --results"
        ) from None
