"""A preference study: one page that shows pairs of results, and keeps what people choose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from coser_cli.imageio.preview import data_uri, read_preview
from coser_cli.pages.template import Markup, name_text, page

EXPORT_TYPE = "coser-study"
EXPORT_VERSION = 1


@dataclass(frozen=True)
class StudyPicture:
    """One picture of a study: its name, the result of every method, and what was enlarged."""

    name: str
    results: Mapping[str, Path]
    source: Path | None = None


@dataclass(frozen=True)
class Study:
    """A finished page, its identity, and how many pairs it asks about."""

    html: bytes
    identity: str
    pairs: int


def study_page(pictures: Sequence[StudyPicture], question: str, max_side: int) -> Study:
    """Every two methods on every picture, one pair at a time; the page draws order and sides anew
    for each participant, shows no name of a method, and saves the choices as JSON.

    Pictures are embedded with at most `max_side` pixels per side. The identity follows from what
    is asked and shown, so that answers to different pages cannot be mixed. Raises `InputError`
    where a picture cannot be read.
    """
    images: list[str] = []

    def embed(path: Path) -> int:
        images.append(data_uri(read_preview(path, max_side).image))
        return len(images) - 1

    trials = []
    for each in pictures:
        source = None if each.source is None else embed(each.source)
        shown = {method: embed(path) for method, path in each.results.items()}
        trials += [
            {"picture": name_text(each.name), "source": source, "methods": pair, "images": both}
            for pair, both in zip(
                combinations(shown, 2), combinations(shown.values(), 2), strict=True
            )
        ]
    asked = {"question": question, "trials": trials, "images": images}
    identity = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    data = {"type": EXPORT_TYPE, "version": EXPORT_VERSION, "study": identity, **asked}
    html = page("study", title=question, pairs=len(trials), data=_script_data(data))
    return Study(html, identity, len(trials))


def _script_data(data: object) -> Markup:
    """JSON that may stand in a `<script>`: nothing in it can end the element."""
    return Markup(json.dumps(data).replace("<", "\\u003c"))
