"""A preference study: one page that shows pairs of results, and keeps what people choose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from coser_cli.errors import UsageError, shown
from coser_cli.imageio.preview import Preview, data_uri, read_preview
from coser_cli.pages.template import name_text, page

EXPORT_TYPE = "coser-study"
EXPORT_VERSION = 1
SLACK = 3
"""Pixels by which sides of two results may differ: some tools cut what does not divide evenly."""


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
    is asked and shown, so that answers to different pages cannot be mixed.

    Raises:
        InputError: a picture cannot be read.
        UsageError: results of one picture differ in size by more than `SLACK`.
    """
    images: list[str] = []

    def embed(preview: Preview) -> int:
        images.append(data_uri(preview.image))
        return len(images) - 1

    trials = []
    for each in pictures:
        source = None if each.source is None else embed(read_preview(each.source, max_side))
        results = {name: read_preview(path, max_side) for name, path in each.results.items()}
        _require_one_size(each.name, results)
        embedded = {name: embed(preview) for name, preview in results.items()}
        trials += [
            {"picture": name_text(each.name), "source": source, "methods": pair, "images": both}
            for pair, both in zip(
                combinations(embedded, 2), combinations(embedded.values(), 2), strict=True
            )
        ]
    asked = {"question": question, "trials": trials, "images": images}
    identity = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    data = {"type": EXPORT_TYPE, "version": EXPORT_VERSION, "study": identity, **asked}
    html = page("study", title=question, pairs=len(trials), data=data)
    return Study(html, identity, len(trials))


def _require_one_size(picture: str, results: Mapping[str, Preview]) -> None:
    first, *others = results.items()
    for other in others:
        sizes = [(preview.size.width, preview.size.height) for _, preview in (first, other)]
        if any(abs(a - b) > SLACK for a, b in zip(*sizes, strict=True)):
            each = [
                f"{w}×{h} pixels in {name}"
                for (w, h), (name, _) in zip(sizes, (first, other), strict=True)
            ]
            raise UsageError(
                f"{shown(picture)} has {' and '.join(each)}",
                "results that are compared have one size",
            )
