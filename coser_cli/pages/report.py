"""A batch → one gallery page: thumbnails, sizes, timings, failures."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coser_cli.errors import InputError
from coser_cli.imageio.preview import Preview, data_uri, read_preview
from coser_cli.pages.batch_log import Batch, Entry, is_there
from coser_cli.pages.template import Markup, fill, href, name_text, page, read_template
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
    """One side of a pair: where it is, its preview, or why there is none."""

    label: str
    path: Path | None
    preview: Preview | None = None
    problem: str = ""


def report_page(batch: Batch, folder: Path, target: Path, max_side: int) -> bytes:
    """The page about `batch`, to be written to `target` (its links are relative to it).

    Thumbnails have at most `max_side` pixels per side; a picture that cannot be read is a note in
    its place.
    """
    template = read_template("report_card.html")
    common = common_facts(batch)
    cards = (
        _card(template, index, each, target, max_side, common) for index, each in _numbered(batch)
    )
    return page(
        "report",
        title=f"Report on {name_text(folder.absolute().name or str(folder))}",
        summary=_summary(batch),
        notes=_joined(fill('<p class="soft">{{note}}.</p>', note=note) for note in notes_on(batch)),
        settings=_settings(batch),
        failures=_failures(batch),
        filters=_filters(batch),
        cards=_joined(cards),
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


def _numbered(batch: Batch) -> Iterator[tuple[int, Entry]]:
    return enumerate(batch.entries, start=1)


def _summary(batch: Batch) -> Markup:
    """Counts and times, for the top of the page."""
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
    row = '<div class="{{kind}}"><dt>{{word}}</dt><dd>{{value}}</dd></div>'
    return _joined(fill(row, word=word, kind=kind, value=value) for word, kind, value in rows)


def common_facts(batch: Batch) -> dict[str, str]:
    """What the records of all results say alike: model, settings, device."""
    facts = [each.facts for each in batch.entries if each.facts]
    if not facts:
        return {}
    return {
        key: value for key, value in facts[0].items() if all(f.get(key) == value for f in facts)
    }


def _settings(batch: Batch) -> Markup:
    """Model and settings that all results have in common."""
    common = common_facts(batch)
    if not common:
        return Markup()
    item = "<div><dt>{{key}}</dt><dd>{{value}}</dd></div>"
    items = _joined(fill(item, key=name_text(k), value=name_text(v)) for k, v in common.items())
    frame = (
        '<details id="settings"><summary>Model and settings of all results: {{head}}</summary>'
        "<dl>{{items}}</dl></details>"
    )
    head = ", ".join(common[key] for key in ("model", "device", "dtype") if key in common)
    return fill(frame, head=name_text(head), items=items)


def _failures(batch: Batch) -> Markup:
    """The list of what failed and why, each with a link to its place in the gallery."""
    line = '<li><a href="#{{anchor}}">{{name}}</a>: {{error}}</li>'
    lines = [
        fill(line, anchor=_anchor(index), name=name_text(entry.name), error=_error(entry))
        for index, entry in _numbered(batch)
        if entry.status == "failed"
    ]
    if not lines:
        return Markup()
    frame = '<section id="failures"><h2>Failed</h2><ul>{{lines}}</ul></section>'
    return fill(frame, lines=_joined(lines))


def _filters(batch: Batch) -> Markup:
    present = {status: count for status, count in counts_of(batch).items() if count}
    choices = {"all": len(batch.entries)} | present
    button = (
        '<button type="button" data-show="{{status}}" aria-pressed="{{pressed}}">'
        "{{word}} ({{count}})</button>"
    )
    return _joined(
        fill(
            button,
            status=status,
            pressed="true" if status == "all" else "false",
            word=STATUSES.get(status, status),
            count=count,
        )
        for status, count in choices.items()
    )


def _card(
    template: str, index: int, entry: Entry, target: Path, max_side: int, common: Mapping[str, str]
) -> Markup:
    label = "picture" if entry.target is None else "before"
    before = _picture(label, entry.source, max_side)
    after = _picture("after", entry.target, max_side)
    sizes = _known_size(entry.source_size, before), _known_size(entry.target_size, after)
    shown = [each for each in (before, after) if each.path is not None]
    size = sizes[1] or sizes[0]
    return fill(
        template,
        anchor=_anchor(index),
        status=entry.status,
        status_text=STATUSES.get(entry.status, entry.status),
        name=name_text(entry.name),
        sort_name=name_text(entry.name),
        sort_seconds=entry.seconds or 0,
        sort_pixels=0 if size is None else size.area,
        slides="yes" if _same_shape(before, after) else "no",
        links=_links(shown, target),
        settings=_own_settings(entry, common),
        pictures=_joined(_figure(each, target) for each in shown),
        facts=_facts(entry, sizes),
        remarks=_remarks(entry),
    )


def _same_shape(before: _Picture, after: _Picture) -> bool:
    """Whether one can be laid over the other."""
    if before.preview is None or after.preview is None:
        return False
    return before.preview.size.has_shape_of(after.preview.size, _ASPECT_TOLERANCE)


def _links(pictures: Sequence[_Picture], target: Path) -> Markup:
    """A link to every file that can be opened."""
    link = '<a href="{{href}}">open {{label}}</a>'
    return Markup(
        " · ".join(
            fill(link, href=href(each.path, target), label=each.label)
            for each in pictures
            if each.path is not None and each.preview is not None
        )
    )


def _own_settings(entry: Entry, common: Mapping[str, str]) -> Markup:
    """What this result's record has otherwise than the others'."""
    own = [f"{key} {value}" for key, value in entry.facts.items() if key not in common]
    if not own:
        return Markup()
    return fill('<p class="soft">{{text}}</p>', text=name_text(", ".join(own)))


def _picture(label: str, path: Path | None, max_side: int) -> _Picture:
    if path is None:
        return _Picture(label, None)
    try:
        return _Picture(label, path, read_preview(path, max_side))
    except InputError as error:
        there = is_there(path)
        return _Picture(label, path, problem=error.message if there else "the file is not there")


def _figure(picture: _Picture, target: Path) -> Markup:
    assert picture.path is not None
    name = name_text(picture.path.name)
    if picture.preview is None:
        inner = fill('<span class="nothing">{{problem}}</span>', problem=name_text(picture.problem))
    else:
        inner = fill(
            '<a href="{{href}}"><img alt="{{label}}: {{name}}" loading="lazy" width="{{width}}" '
            'height="{{height}}" src="{{uri}}"></a>',
            href=href(picture.path, target),
            label=picture.label,
            name=name,
            width=picture.preview.image.width,
            height=picture.preview.image.height,
            uri=data_uri(picture.preview.image, thumbnail=True),
        )
    frame = "<figure>{{inner}}<figcaption>{{label}}</figcaption></figure>"
    return fill(frame, inner=inner, label=picture.label)


def _known_size(recorded: Size | None, picture: _Picture) -> Size | None:
    """The size of the file that is there, else the recorded one."""
    return picture.preview.size if picture.preview is not None else recorded


def _facts(entry: Entry, sizes: tuple[Size | None, Size | None]) -> str:
    """Sizes and seconds in one line, after the status."""
    known = " → ".join(f"{size.width} × {size.height}" for size in sizes if size is not None)
    time = duration(entry.seconds) if entry.seconds is not None and entry.status == "done" else ""
    return "".join(f" · {part}" for part in (known, time) if part)


def _remarks(entry: Entry) -> Markup:
    lines = []
    if entry.status == "failed":
        lines.append(fill('<p class="error">{{text}}</p>', text=_error(entry)))
    lines += [fill('<p class="soft">{{text}}</p>', text=note) for note in entry.notes]
    return _joined(lines)


def _error(entry: Entry) -> str:
    return name_text(entry.error) if entry.error else "the record gives no reason"


def _anchor(index: int) -> str:
    return f"picture-{index}"


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("\n".join(parts))


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
