"""`coser bench`: measurements of this machine; a thin door to `coser_cli.bench`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from coser_cli.cli import options
from coser_cli.cli.records import JSON_VERSION

bench = typer.Typer(name="bench", no_args_is_help=True)


@bench.callback()
def root() -> None:
    """Measure what this machine makes of the models."""


@bench.command()
def speed(
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    as_json: options.Json = False,
) -> None:
    """Measure how fast the device is."""
    from coser_cli.bench.ceiling import measure_ceiling
    from coser_cli.bench.environment import environment_of
    from coser_cli.engine.device import choose_device, choose_dtype

    where = choose_device(device)
    precision = choose_dtype(dtype, where)
    ceiling = measure_ceiling(where, precision)
    record = {
        "type": "environment",
        "version": JSON_VERSION,
        **asdict(environment_of(where, precision)),
        "ceiling": asdict(ceiling),
    }
    line = "\n".join(f"{key} {value}" for key, value in list(record.items())[2:])
    typer.echo(json.dumps(record) if as_json else line)
