"""A batch → one gallery page: thumbnails, sizes, timings, failures."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coser_cli.errors import InputError
from coser_cli.imageio.preview import data_uri, read_preview
from coser_cli.pages.batch_log import Batch, Entry, is_there
from coser_cli.pages.template import href, page
from coser_cli.size import Size

_ASPECT_TOLERANCE = 0.02
# What a status is called on the page, in the order of the summary.
STATUSES = {
    "done": "done",
    "skipped": "skipped",
    "failed": "failed",
    "found": "without a record",
}


@dataclass(frozen=True)
class _Picture:
    """One side of a pair: its file, and its preview (address and sizes) or why there is none."""

    label: str
    name: str
    href: str
    uri: str = ""
    width: int = 0
    height: int = 0
    size: Size | None = None
    problem: str = ""


def report_page(batch: Batch, folder: Path, target: Path, max_side: int) -> bytes:
    """The page about `batch`, to be written to `target` (its links are relative to it).

    Thumbnails have at most `max_side` pixels per side; a picture that cannot be read is a note in
    its place.
    """
    common = common_facts(batch)
    return page(
        "report",
        title=f"Report on {folder.absolute().name or folder}",
        summary=_summary(batch),
        notes=notes_on(batch),
        head=", ".join(common[key] for key in ("model", "device", "dtype") if key in common),
        common=common,
        counts=counts_of(batch),
        statuses=STATUSES,
        cards=[
            {"number": number} | _card(each, target, max_side, common)
            for number, each in enumerate(batch.entries, start=1)
        ],
    )


def counts_of(batch: Batch) -> dict[str, int]:
    """How many entries have each status; statuses that no version of coser writes included."""
    return dict.fromkeys(STATUSES, 0) | Counter(entry.status for entry in batch.entries)


def notes_on(batch: Batch) -> tuple[str, ...]:
    """What a reader should know of the data behind the page."""
    notes = []
    if batch.interrupted:
        notes.append("The last run was interrupted")
    if batch.unknown_lines:
        plural = "s" if batch.unknown_lines > 1 else ""
        notes.append(f"{batch.unknown_lines} line{plural} of the log could not be understood")
    return tuple(notes)


def _summary(batch: Batch) -> list[tuple[str, str, str]]:
    """Counts and times for the top of the page: word, CSS class and value."""
    rows = [("pictures", "all", str(len(batch.entries)))]
    rows += [
        (STATUSES.get(status, status), status, str(count))
        for status, count in counts_of(batch).items()
        if count
    ]
    times = [each.seconds for each in batch.entries if each.status == "done" and each.seconds]
    if times:
        rows.append(("median per picture", "time", duration(statistics.median(times))))
        rows.append(("sum of pictures", "time", duration(sum(times))))
    if batch.runs:
        runs = "the run" if batch.runs == 1 else f"the {batch.runs} runs"
        rows.append((f"time of {runs} that made them", "time", duration(batch.run_seconds)))
    return rows


def common_facts(batch: Batch) -> dict[str, str]:
    """What the records of all results say alike: model, settings, device."""
    facts = [each.facts for each in batch.entries if each.facts]
    if not facts:
        return {}
    return {
        key: value for key, value in facts[0].items() if all(f.get(key) == value for f in facts)
    }


def _card(entry: Entry, target: Path, max_side: int, common: Mapping[str, str]) -> dict[str, Any]:
    """The values of one picture in the gallery."""
    sides = [
        ("picture" if entry.target is None else "before", entry.source, entry.source_size),
        ("after", entry.target, entry.target_size),
    ]
    pictures = [
        _picture(label, path, target, max_side) for label, path, _ in sides if path is not None
    ]
    shown = {each.label: each.size for each in pictures}
    sizes = [shown.get(label) or recorded for label, _, recorded in sides]
    known = [size for size in sizes if size is not None]
    facts = [" → ".join(f"{size.width} × {size.height}" for size in known)]
    if entry.seconds is not None and entry.status == "done":
        facts.append(duration(entry.seconds))
    own = [f"{key} {value}" for key, value in entry.facts.items() if key not in common]
    return {
        "entry": entry,
        "pictures": pictures,
        "slides": len(pictures) == 2 and _have_one_shape(*pictures),
        "area": known[-1].area if known else 0,
        "facts": [each for each in facts if each],
        "own": ", ".join(own),
        "error": entry.error or "the record gives no reason",
    }


def _have_one_shape(before: _Picture, after: _Picture) -> bool:
    """Whether one can be laid over the other."""
    if before.size is None or after.size is None:
        return False
    return before.size.has_shape_of(after.size, _ASPECT_TOLERANCE)


def _picture(label: str, path: Path, target: Path, max_side: int) -> _Picture:
    address = href(path, target)
    try:
        preview = read_preview(path, max_side)
    except InputError as error:
        problem = error.message if is_there(path) else "the file is not there"
        return _Picture(label, path.name, address, problem=problem)
    uri = data_uri(preview.image, thumbnail=True)
    return _Picture(label, path.name, address, uri, *preview.image.size, preview.size)


def duration(seconds: float) -> str:
    """Seconds in words that suit their length: 0.4 s, 12 s, 3 min 5 s, 2 h 7 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"
