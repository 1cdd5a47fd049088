"""Scores of several methods → one page: tables, plots, and the pictures that differ most."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from coser_cli.imageio.preview import Preview, data_uri
from coser_cli.pages.template import page


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

    @property
    def uri(self) -> str:
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode('ascii')}"


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
        facts=facts,
        tables=tables,
        plots=plots,
        cases=cases,
        data_uri=data_uri,
    )
