"""What is known of a batch: lines of `coser upscale --json`, and the pictures of a folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coser_cli.errors import UsageError, reason_of, shown
from coser_cli.imageio.record import read_record
from coser_cli.imageio.sniff import PICTURE_SUFFIXES
from coser_cli.size import Size

_RESULT = re.compile(r"(?P<stem>.+)_\d+(\.\d+)?x", re.DOTALL)
_BESIDE = re.compile(r"(?P<stem>.+)_(references?(-\d+)?|compare)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One picture of a batch; None is what is not known.

    `status` is that of the record (done, skipped, failed), or "found": there, without a record.
    `facts` say how the result was made: model, settings and device, by name.
    """

    source: Path | None
    target: Path | None
    status: str = "found"
    seconds: float | None = None
    source_size: Size | None = None
    target_size: Size | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file that the entry is about."""
        path = self.source or self.target
        return "" if path is None else path.name


@dataclass(frozen=True)
class Batch:
    """Entries in the order they began, and what the runs' summaries and logs say: how many runs
    have made results, and their seconds; whether the last run was interrupted.
    """

    entries: tuple[Entry, ...]
    runs: int = 0
    run_seconds: float = 0.0
    interrupted: bool = False
    unknown_lines: int = 0


def read_records(log: Path) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of a log, in order, and the number of lines that are none.

    Raises `UsageError` where the file cannot be read.
    """
    try:
        text = log.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        reason = reason_of(error)
        raise UsageError(f"cannot read {shown(log)}: {reason}", "check --log") from None
    records, unknown = [], 0
    for line in text.split("\n"):
        record = _object(line)
        if record is not None:
            records.append(record)
        elif line.strip():
            unknown += 1
    return records, unknown


def read_batch(folder: Path, logs: Sequence[Path], *, recursive: bool = False) -> Batch:
    """Everything known of a batch: the logs' records, then the folder's pictures without one.

    Of several records of one target the last one counts; "skipped" says nothing new, so it leaves
    an earlier "done" as it is, and a run that only skipped has made nothing: its time does not
    count. How a result was made is read from the record in its file. Raises `UsageError` where a
    log cannot be read.
    """
    entries: dict[str, Entry] = {}
    runs, run_seconds, interrupted, unknown = 0, 0.0, False, 0
    for log in logs:
        records, unknown_here = read_records(log)
        unknown += unknown_here
        for record in records:
            if record.get("type") == "image":
                _add(entries, _entry(record, (log.parent, folder)))
            elif record.get("type") == "summary":
                interrupted = record.get("status") == "interrupted"
                if record.get("done") != 0:
                    runs += 1
                    run_seconds += _number(record.get("seconds")) or 0.0
    others = _without_record(find_pictures(folder, recursive=recursive), entries.values())
    everything = (_with_record(each) for each in (*entries.values(), *others))
    return Batch(tuple(everything), runs, run_seconds, interrupted, unknown)


def find_pictures(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Files in the folder that have a picture's extension, sorted."""
    files = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path for path in files if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )


def find_logs(folder: Path) -> list[Path]:
    """The folder's `.jsonl` files, the oldest first."""
    logs = [path for path in folder.iterdir() if path.suffix.lower() == ".jsonl" and path.is_file()]
    return sorted(logs, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _with_record(entry: Entry) -> Entry:
    """The entry with what its result's own record says of how it was made."""
    if entry.target is None or not is_there(entry.target):
        return entry
    record = read_record(entry.target)
    return entry if record is None else replace(entry, facts=_how_made(record))


def _how_made(record: Mapping[str, Any]) -> dict[str, str]:
    """Model, device, and the settings that have a value, as text. A record may be of another
    version: what is not understood is left out.
    """
    parts = {key: record.get(key) for key in ("model", "compute", "settings")}
    known = {key: part if isinstance(part, dict) else {} for key, part in parts.items()}
    facts = {"model": known["model"].get("name")}
    facts |= {key: known["compute"].get(key) for key in ("device", "dtype")}
    facts |= {"program": record.get("program"), **known["settings"]}
    return {key.replace("_", " "): _text(value) for key, value in facts.items() if _says(value)}


def _says(value: Any) -> bool:
    return value is not None and value not in ("", [], {})


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _add(entries: dict[str, Entry], entry: Entry) -> None:
    key = _key(entry.target or entry.source or Path())
    earlier = entries.pop(key, None)
    repeats = entry.status == "skipped" and earlier is not None and earlier.status == "done"
    entries[key] = earlier if earlier is not None and repeats else entry


def _entry(record: Mapping[str, Any], folders: Sequence[Path]) -> Entry:
    """A record's entry. A log may come from anywhere: what has not the right type is unknown."""
    notes, error = record.get("notes"), record.get("error")
    source, target = _located(record, folders)
    return Entry(
        source=source,
        target=target,
        status=str(record.get("status")),
        seconds=_number(record.get("seconds")),
        source_size=_size(record.get("source_size")),
        target_size=_size([record.get("width"), record.get("height")]),
        notes=tuple(str(note) for note in notes) if isinstance(notes, list) else (),
        error=_error_text(error) if isinstance(error, dict) else "",
    )


def _located(record: Mapping[str, Any], folders: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """Source and target of a record, whose names are relative to where the command ran.

    That folder is not known: it is the first one that has most of the two. A file that has moved
    is looked for by its name alone.
    """
    names = [record.get("source"), record.get("target")]
    paths = [Path(name) if isinstance(name, str) and name else None for name in names]

    def there(base: Path) -> int:
        return sum(path is not None and is_there(base / path) for path in paths)

    bases = [Path(), *folders, *(folder.absolute().parent for folder in folders)]
    base = max(bases, key=there)
    source, target = (None if path is None else _moved(base / path, folders) for path in paths)
    return source, target


def _moved(path: Path, folders: Sequence[Path]) -> Path:
    """The file of this name that exists, if the path itself does not."""
    places = [path, *(folder / path.name for folder in folders)]
    return next((place for place in places if is_there(place)), path)


def is_there(path: Path) -> bool:
    """Whether there is such a file; false for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, not permitted, a NUL byte
        return False


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < float("inf") else None


def _size(value: Any) -> Size | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    if not all(isinstance(side, int) and side > 0 for side in value):
        return None
    return Size.of_wh((value[0], value[1]))


def _error_text(error: Mapping[str, Any]) -> str:
    """The record's error as it stood on stderr."""
    parts = (error.get("message"), error.get("hint"))
    return "; ".join(str(part) for part in parts if part)


def _without_record(pictures: Sequence[Path], entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries for pictures that no log names: results that carry a record of their own, results by
    their names, then the others.

    References and comparisons beside a picture belong to it, and are no entries of their own.
    """
    known = {_key(path) for entry in entries for path in (entry.source, entry.target) if path}
    by_stem = {(path.parent, path.stem): path for path in pictures}
    rest = [path for path in pictures if _key(path) not in known]
    rest = [path for path in rest if _named_after(_BESIDE, path, by_stem) is None]
    results = [path for path in rest if _RESULT.fullmatch(path.stem)]
    recorded = {path: entry for path in rest if (entry := _embedded(path)) is not None}
    yield from recorded.values()
    results = [path for path in results if path not in recorded]
    pairs = [Entry(_named_after(_RESULT, path, by_stem), path) for path in results]
    yield from pairs
    paired = {path for each in (*recorded.values(), *pairs) for path in (each.source, each.target)}
    yield from (Entry(path, None) for path in rest if path not in paired)


def _embedded(path: Path) -> Entry | None:
    """The entry of a result that carries its own record; its input is looked for beside it and in
    the folder above.
    """
    record = read_record(path)
    if record is None or record.get("role") not in ("result", "sheet"):
        return None
    named = record.get("input")
    name = named.get("name") if isinstance(named, dict) else None
    if not isinstance(name, str) or not name:
        return Entry(None, path, "done")
    name = Path(name).name
    places = (path.with_name(name), path.parent.parent / name)
    source = next((place for place in places if is_there(place)), None)
    return Entry(source, path, "done")


def _named_after(
    pattern: re.Pattern[str], path: Path, by_stem: Mapping[tuple[Path, str], Path]
) -> Path | None:
    """The picture that another one's name is made from."""
    match = pattern.fullmatch(path.stem)
    return by_stem.get((path.parent, match["stem"])) if match else None


def _key(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL byte in the name
        return str(path)
