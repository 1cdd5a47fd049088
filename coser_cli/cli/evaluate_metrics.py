"""`coser evaluate metrics`: what can be measured here, and fetching what is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.options.declare import option
from coser_cli.cli.output.columns import plain_columns
from coser_cli.cli.output.json_lines import print_record

AcceptLicense = Annotated[
    list[str] | None,
    option("Accept the licence of a metric's package; may be given several times.", metavar="ID"),
]
Overwrite = Annotated[
    bool,
    options.file_option(
        "Write files again that exist; without it, nothing is done where one does.", "--overwrite"
    ),
]
_KINDS = {"pair": "true picture", "single": "result alone", "set": "whole set"}


def metrics(
    fetch: Annotated[
        str | None,
        option(
            "Download the weights of these metrics, by commas, from where their packages "
            "have them.",
            metavar="NAMES",
        ),
    ] = None,
    accept_license: AcceptLicense = None,
    as_json: options.Json = False,
) -> None:
    """List the metrics: what they need, what is on this machine, and how to get the rest."""
    from coser_cli.evaluation import metrics as table

    if fetch is not None:
        _fetch(fetch, accept_license or ())
    rows = [table.facts(metric) for metric in table.METRICS.values()]
    if as_json:
        for row in rows:
            print_record("metric", row)
        return
    header = ("metric", "better", "compares", "state", "what it is")
    cells = [
        (
            str(row["name"]),
            "more" if row["better"] == 1 else "less",
            _KINDS[str(row["kind"])],
            str(row["state"]),
            str(row["words"]),
        )
        for row in rows
    ]
    typer.echo(plain_columns([header, *cells]))
    for command in table.commands_for(list(table.METRICS.values())):
        typer.echo(f"to get what is missing: {command}", err=True)


def _fetch(names: str, accepted: list[str] | tuple[str, ...]) -> None:
    from coser_cli.errors import WeightsError
    from coser_cli.evaluation import metrics as table
    from coser_cli.weights.fetch.hosts import is_offline

    chosen = table.select(names)
    table.require(chosen, accepted, fetch=True)
    if is_offline():
        raise WeightsError("COSER_OFFLINE or HF_HUB_OFFLINE forbids downloads", "unset it")
    for metric in chosen:
        if table.missing_weights(metric):
            typer.echo(f"fetching the weights of {metric.name}", err=True)
            table.fetch(metric)
