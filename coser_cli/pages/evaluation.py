"""Scores of several methods → one page: tables, plots, and the pictures that differ most."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coser_cli.imageio.preview import Preview, data_uri
from coser_cli.pages.template import Markup, fill, name_text, page


@dataclass(frozen=True)
class Table:
    """A table of text: a title, heads, and rows with as many cells; `soft` stands below it."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    soft: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG, and what it shows in words."""

    svg: bytes
    words: str


@dataclass(frozen=True)
class Case:
    """One picture: what is special about it, and labelled images of one size."""

    title: str
    facts: str
    images: tuple[tuple[str, Preview], ...]


def evaluation_page(
    title: str,
    facts: Sequence[str],
    tables: Sequence[Table],
    plots: Sequence[Plot],
    cases: Sequence[Case],
) -> bytes:
    """The page as UTF-8; `facts` are sentences about what was measured."""
    return page(
        "evaluation",
        title=title,
        facts=_joined(fill('<p class="soft">{{text}}</p>', text=each) for each in facts),
        tables=_joined(_table(each) for each in tables),
        plots=_joined(_plot(each) for each in plots),
        cases=_joined(_case(each) for each in cases),
    )


def _table(table: Table) -> Markup:
    heads = _joined(fill('<th scope="col">{{text}}</th>', text=each) for each in table.heads)
    rows = _joined(_row(each) for each in table.rows)
    frame = (
        "<section><h2>{{title}}</h2><div class='scroll'><table><thead><tr>{{heads}}</tr></thead>"
        "<tbody>{{rows}}</tbody></table></div>{{soft}}</section>"
    )
    soft = fill('<p class="soft">{{text}}</p>', text=table.soft) if table.soft else Markup()
    return fill(frame, title=table.title, heads=heads, rows=rows, soft=soft)


def _row(cells: tuple[str, ...]) -> Markup:
    first = fill('<th scope="row">{{text}}</th>', text=name_text(cells[0]))
    others = (fill("<td>{{text}}</td>", text=name_text(each)) for each in cells[1:])
    return fill("<tr>{{cells}}</tr>", cells=_joined((first, *others)))


def _plot(plot: Plot) -> Markup:
    uri = f"data:image/svg+xml;base64,{base64.b64encode(plot.svg).decode('ascii')}"
    return fill('<img class="plot" alt="{{words}}" src="{{uri}}">', words=plot.words, uri=uri)


def _case(case: Case) -> Markup:
    figure = (
        '<figure><img alt="{{label}}" width="{{width}}" height="{{height}}" src="{{uri}}">'
        "<figcaption>{{label}}</figcaption></figure>"
    )
    figures = _joined(
        fill(
            figure,
            label=name_text(label),
            width=each.size.width,
            height=each.size.height,
            uri=data_uri(each.image),
        )
        for label, each in case.images
    )
    frame = (
        "<article><h3>{{title}}</h3><p class='number'>{{facts}}</p>"
        '<div class="images">{{figures}}</div></article>'
    )
    return fill(frame, title=name_text(case.title), facts=case.facts, figures=figures)


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("\n".join(parts))
