"""What `coser download-weights` says: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from coser_cli.cli.output.json_lines import JSON_VERSION, error_record
from coser_cli.errors import CoserError, Exit

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from coser_cli.weights.install.inventory import Inventory
    from coser_cli.weights.install.plan import Amount, Plan
    from coser_cli.weights.install.run import Outcome
    from coser_cli.weights.install.verify import Pin
    from coser_cli.weights.manifest import License

QUIET_STATES = ("absent", "incomplete", "unknown")


class WeightsReporter:
    """Says what happens; a context manager round the command.

    With `as_json` stdout has one object per file and model, and a summary as its last line, also
    where the command fails.
    """

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._bar: RichProgress | None = None
        self._label = ""
        self._began = time.monotonic()
        self._counts = {"total": 0, "done": 0, "failed": 0}
        self._failure: CoserError | None = None
        self._errors: set[str] = set()
        self._paths: dict[Path, None] = {}

    def __enter__(self) -> WeightsReporter:
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        """End the bar; an error that ends the command still gets its JSON summary, and what was
        done before it its path, unless that was deleted since.
        """
        self._stop_bar()
        if not (self.as_json or self._quiet):
            for path in filter(Path.exists, self._paths):
                typer.echo(str(path))
        if self.as_json and isinstance(error, CoserError):
            self._summary("error", error.exit_code, error)
            error.is_reported = True

    def say(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        if not self._quiet:
            self._stop_bar()
            typer.echo(text, err=True)

    def progress(self, label: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes; draws a bar with rate and remaining time, on a terminal only."""
        if not self._live:
            return
        if self._bar is None or label != self._label:
            self._stop_bar()
            self._bar = _bar()
            self._label = label
            self._task = self._bar.add_task(label, completed=done, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)

    def outcome(self, ended: Outcome) -> None:
        """A file or model has ended well or badly."""
        self._stop_bar()
        self._counts["total"] += 1
        if ended.error is not None:
            self._counts["failed"] += 1
            self._failure = ended.error
            if str(ended.error) not in self._errors:  # one file may fail several models
                typer.echo(f"coser: {ended.error}", err=True)
            self._errors.add(str(ended.error))
        elif ended.status not in QUIET_STATES:
            self._counts["done"] += 1
        if ended.missing and ended.error is None:
            self.say(f"{ended.name} is not installed yet: it needs {', '.join(ended.missing)}")
        if self.as_json:
            self.record(outcome_record(ended))
        elif ended.error is None and ended.status not in QUIET_STATES:
            self._paths[ended.path] = None

    def pin(self, pin: Pin) -> None:
        """What a host told of one source."""
        self._counts["total"] += 1
        self._counts["failed" if pin.problem else "done"] += 1
        if self.as_json:
            self.record({"type": "pin"} | asdict(pin))
            return
        typer.echo(f"{pin.name}  {pin.url}")
        headers = {
            "X-Linked-Etag": pin.linked_etag,
            "X-Linked-Size": pin.linked_size,
            "X-Repo-Commit": pin.commit,
            "ETag": pin.etag,
            "Content-Length": pin.length,
            "problem": pin.problem,
        }
        for name, value in headers.items():
            if value is not None:
                typer.echo(f"  {name}: {value}")

    def file(self, path: Path) -> None:
        """A file that was written beside the weights: its path on stdout."""
        self._counts["total"] += 1
        self._counts["done"] += 1
        if self.as_json:
            self.record({"type": "manifest", "path": str(path)})
        else:
            typer.echo(str(path))

    @property
    def has_done_anything(self) -> bool:
        """Whether anything has ended well or badly."""
        return self._counts["done"] + self._counts["failed"] > 0

    def record(self, data: dict[str, Any]) -> None:
        """One JSON object on stdout."""
        typer.echo(json.dumps({"type": data["type"], "version": JSON_VERSION} | data))

    def end(self) -> Exit:
        """Everything has ended; returns the exit code."""
        self._stop_bar()
        code = Exit.WEIGHTS if self._counts["failed"] else Exit.OK
        if self.as_json:
            status = (
                "success" if code is Exit.OK else "partial" if self._counts["done"] else "error"
            )
            self._summary(status, code, self._failure)
        return code

    def interrupted(self) -> None:
        """Ctrl-C: say that nothing is lost."""
        self._stop_bar()
        text = "coser: interrupted; the same command goes on where it was"
        typer.echo(text, err=True)
        if self.as_json:
            self._summary("interrupted", Exit.INTERRUPTED)

    def _summary(self, status: str, code: Exit, error: CoserError | None = None) -> None:
        self.record(
            {
                "type": "summary",
                "version": JSON_VERSION,
                "status": status,
                "exit_code": int(code),
                **self._counts,
                "seconds": round(time.monotonic() - self._began, 3),
                "error": None if error is None else error_record(error),
            }
        )

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> RichProgress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def outcome_record(ended: Outcome) -> dict[str, Any]:
    """One line of `--json`; its keys are a contract with scripts."""
    record: dict[str, Any] = {
        "type": ended.kind,
        "name": ended.name,
        "status": ended.status,
        "path": str(ended.path),
    }
    if ended.kind == "file":
        record |= {"size": ended.size, "sha256": ended.sha256, "url": ended.url}
    else:
        record["missing"] = list(ended.missing)
    record["error"] = None if ended.error is None else error_record(ended.error)
    return record


def size_text(size: int | None) -> str:
    """A size for people: three digits and a decimal unit."""
    if size is None:
        return "size unknown"
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.3g} {units[0]}"


def amount_text(amount: Amount) -> str:
    """An amount for people, with what is not known about it."""
    if not amount.bytes and amount.unknown:
        return size_text(None)
    text = size_text(amount.bytes) if amount.bytes or not amount.unknown else ""
    if amount.estimated:
        text = f"about {text} (by estimate)"
    unknown = f"{len(amount.unknown)} of unknown size" if amount.unknown else ""
    return " and ".join(filter(None, [text, unknown]))


def license_lines(licenses: Iterable[License]) -> list[str]:
    """Id, name, address and commercial use, a line per licence."""
    return [
        f"  {each.id}: {each.name}, {each.url}; commercial use: {each.commercial}"
        for each in licenses
    ]


def list_all(reporter: WeightsReporter, inventory: Inventory) -> None:
    """`--list`: sets, files, models and licences, and how far each is."""
    from coser_cli.weights.install.plan import download_bytes

    manifest = inventory.manifest
    if reporter.as_json:
        for each in manifest.sets.values():
            reporter.record({"type": "set"} | asdict(each))
        for name in manifest.files:
            reporter.record(_file_record(inventory, name))
        for one in manifest.licenses.values():
            reporter.record({"type": "license"} | asdict(one))
        return
    rows = [["set", "files", "installed as"]]
    rows += [[s.name, ", ".join(s.files), s.variant or "-"] for s in manifest.sets.values()]
    _table(rows)
    rows = [["file", "size", "licences", "state"]]
    for name, file in manifest.files.items():
        if not file.parts:
            record = _file_record(inventory, name)
            size = amount_text(download_bytes(inventory, [name], whole=True))
            rows.append([name, size, ", ".join(file.licenses), record["state"]])
    _table(rows)
    typer.echo("licences")
    typer.echo("\n".join(license_lines(manifest.licenses.values())))


def _file_record(inventory: Inventory, name: str) -> dict[str, Any]:
    file = inventory.file(name)
    models = [v.name for v in inventory.manifest.variants.values() if inventory.is_in(name, v)]
    states = {str(inventory.state(each)) for each in inventory.single([name])}
    state = states.pop() if len(states) == 1 else "partial"
    return {
        "type": "file",
        "name": name,
        "size": inventory.bytes_of(name),
        "sha256": inventory.known_hash(name),
        "licenses": list(file.licenses),
        "state": "installed" if models else state,
        "models": models,
        "path": str(inventory.path(name)),
    }


def _table(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
    typer.echo()


def show_plan(
    reporter: WeightsReporter,
    inventory: Inventory,
    plan: Plan,
    imports: Mapping[str, int],
    *,
    needed: int,
    conversion: int,
    free: int,
) -> None:
    """`--dry-run`: what would be imported, fetched and installed, and what that takes."""
    from coser_cli.weights.install.plan import download_bytes

    amount = download_bytes(inventory, plan.fetch)
    licenses = inventory.manifest.licenses_of(plan.fetch)
    if reporter.as_json:
        reporter.record(
            {
                "type": "plan",
                "present": list(plan.there),
                "import": list(imports),
                "fetch": list(plan.fetch),
                "install": [variant.name for variant in plan.variants],
                "download_bytes": amount.bytes,
                "estimated_sizes": list(amount.estimated),
                "unknown_sizes": list(amount.unknown),
                "disk_bytes": needed,
                "free_bytes": free,
                "licenses": [each.id for each in licenses],
            }
        )
        return
    for name in plan.there:
        if name not in imports:
            typer.echo(f"there: {name}")
    for name, size in imports.items():
        typer.echo(f"would import: {name}, {size_text(size)}")
    for name in plan.fetch:
        typer.echo(f"would fetch: {name}, {amount_text(download_bytes(inventory, [name]))}")
    for variant in plan.variants:
        typer.echo(f"would install: {variant.name} in {inventory.folder(variant)}")
    typer.echo(f"download: {amount_text(amount)}")
    typer.echo(f"disk: {size_text(needed)}, of it {size_text(conversion)} for conversion")
    typer.echo(f"free: {size_text(free)} in {inventory.root}")
    if licenses:
        typer.echo("licences:")
        typer.echo("\n".join(license_lines(licenses)))
