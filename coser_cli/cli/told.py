"""Records of pictures as text, and as data for `coser info FILE --json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from coser_cli.cli.records import JSON_VERSION, error_record
from coser_cli.cli.repeat import Told, tell
from coser_cli.errors import CoserError, Exit, InputError, shown


def tell_files(files: Sequence[Path], *, as_json: bool) -> None:
    """Show each file's record; ends with 1 where one has none."""
    failed = False
    for file in files:
        try:
            told = tell(file)
        except InputError as error:
            failed = True
            typer.echo(f"coser: {error}", err=True)
            if as_json:
                typer.echo(json.dumps(_record(file, None, error)))
            continue
        typer.echo(json.dumps(_record(file, told, None)) if as_json else _text(told))
    if failed:
        raise typer.Exit(Exit.FAILED)


def _record(file: Path, told: Told | None, error: CoserError | None) -> dict[str, Any]:
    return {
        "type": "record",
        "version": JSON_VERSION,
        "file": str(file),
        "record": None if told is None else dict(told.record),
        "input": None if told is None else str(told.input.path),
        "input_state": None if told is None else told.input.state,
        "command": None if told is None else list(told.command),
        "shell": None if told is None else told.shell,
        "notes": [] if told is None else list(told.notes),
        "error": None if error is None else error_record(error),
    }


def _text(told: Told) -> str:
    """Facts, notes, and the command as the last line."""
    record = told.record
    compute, settings = record["compute"], record["settings"]
    lines = [
        shown(told.file),
        f"  {record['role']} by {record['program']}",
        f"  input      {_file(record['input'])}",
        f"  model      {shown(record['model']['name'])}, weights {record['model']['weights']}",
    ]
    if compute:
        lines.append(
            f"  computed   on {compute['device']} in {compute['dtype']}, torch {compute['torch']}"
            f"{', compiled' if compute.get('compiled') else ''}"
        )
    lines += [f"  reference  {_file(each)}" for each in record["references"]]
    for title in ("fit", "encoding", "tiling"):
        if record[title]:
            lines.append(f"  {title:<10} {_pairs(record[title])}")
    lines.append("  settings")
    lines += [f"    {name:<25} {value!r}" for name, value in settings.items()]
    lines += [f"  note: {note}" for note in told.notes]
    safe = ["".join(c if c.isprintable() else "?" for c in line) for line in lines]
    return "\n".join([*safe, told.shell])


def _file(named: dict[str, Any]) -> str:
    return f"{shown(named['name'])}, sha256 {named['sha256']}"


def _pairs(table: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in table.items() if value is not None)
