"""Scores as the contents of a page: tables, plots, and details of pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from coser_cli.cli.output.evaluation_tables import (
    Section,
    differences_table,
    number,
    scores_table,
)
from coser_cli.evaluation.box_plots import box_plot
from coser_cli.evaluation.details import details
from coser_cli.evaluation.pairs import read_pixels
from coser_cli.imageio.preview import data_uri
from coser_cli.pages.template import page
from coser_cli.version import __version__

if TYPE_CHECKING:
    from coser_cli.evaluation.comparison import Difference
    from coser_cli.evaluation.metrics import Metric

EXTREMES = 3
"""Pictures that are shown per comparison, at either end."""
INTERVALS = (
    "In brackets: 95 % intervals of the mean by the bootstrap over pictures. A difference is clear"
    " where its interval leaves 0 out."
)


def page_of(sections: Sequence[Section], metrics: Sequence[Metric], notes: Sequence[str]) -> bytes:
    """The page about sets that have been measured. Raises `InputError` where a picture is gone."""
    sets = ", ".join(section.measurement.pictures.name for section in sections)
    facts = [
        *(f"{metric.name}: {metric.words}; {_better(metric)} is better." for metric in metrics),
        f"Measured by coser {__version__}.",
        *(f"{note}." for note in notes),
    ]
    tables = chain.from_iterable(_tables(section, metrics) for section in sections)
    plots = chain.from_iterable(_plots(section, metrics) for section in sections)
    cases = chain.from_iterable(_cases(section, metrics) for section in sections)
    return page(
        "evaluation",
        title=f"Evaluation of {sets}",
        facts=facts,
        tables=tables,
        plots=plots,
        cases=cases,
        data_uri=data_uri,
    )


def _better(metric: Metric) -> str:
    return "more" if metric.better == 1 else "less"


def _tables(section: Section, metrics: Sequence[Metric]) -> Iterator[dict[str, Any]]:
    name = section.measurement.pictures.name
    head, *rows = scores_table(section.scores, metrics)
    yield {"title": name, "heads": ("method", *head[1:]), "rows": rows, "soft": INTERVALS}
    if section.differences:
        head, *rows = differences_table(section.differences)
        title = f"{name}: differences from {section.differences[0].against}"
        yield {"title": title, "heads": ("method", *head[1:]), "rows": rows, "soft": ""}


def _plots(section: Section, metrics: Sequence[Metric]) -> Iterator[dict[str, str]]:
    name = section.measurement.pictures.name
    for metric in metrics:
        if metric.kind != "set":
            scores = {each.method: each.column(metric.name) for each in section.scores}
            title = f"{name}: {metric.name} ({_better(metric)} is better)"
            svg = base64.b64encode(box_plot(scores, title)).decode("ascii")
            yield {"words": f"Box plot of {title}", "uri": f"data:image/svg+xml;base64,{svg}"}


def _cases(section: Section, metrics: Sequence[Metric]) -> Iterator[dict[str, Any]]:
    """For each method the pictures with the largest differences in the first metric."""
    first = next((metric for metric in metrics if metric.kind != "set"), None)
    for difference in section.differences:
        if difference.metric is first:
            for picture, change in difference.extremes(EXTREMES):
                yield _case(section, difference, picture, change)


def _case(section: Section, difference: Difference, picture: str, change: float) -> dict[str, Any]:
    measurement = section.measurement
    methods = {each.method: each for each in section.scores}
    names = (difference.method, difference.against)
    files = [methods[name].images[picture] for name in names]
    pixels = [measurement.cropped(read_pixels(each)) for each in files]
    values = [
        next(s.values[difference.metric.name] for s in methods[n].scores if s.picture == picture)
        for n in names
    ]
    labels = [f"{n}: {number(v)}" for n, v in zip(names, values, strict=True)]
    source = next(each for each in measurement.pictures.pictures if each.name == picture)
    if source.reference is not None:
        pixels.append(measurement.true_pixels(source))
        labels.append("true picture")
    verdict = "better" if difference.metric.better * change > 0 else "worse"
    facts = f"{difference.metric.name} {number(change, '+')}: {verdict} than {difference.against}"
    title = f"{measurement.pictures.name}, {picture}: {difference.method}"
    images = zip(labels, details(pixels, len(names)), strict=True)
    return {"title": title, "facts": facts, "images": images}
