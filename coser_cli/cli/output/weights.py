"""What `coser download-weights` says: results to stdout, everything else to stderr."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from coser_cli.cli.output.json_lines import error_record
from coser_cli.cli.output.reporter import Reporter
from coser_cli.errors import CoserError, Exit

if TYPE_CHECKING:
    from coser_cli.weights.install.inventory import Inventory
    from coser_cli.weights.install.plan import Amount
    from coser_cli.weights.install.run import Outcome
    from coser_cli.weights.install.verify import Pin
    from coser_cli.weights.manifest import License

QUIET_STATES = ("absent", "incomplete", "unknown")


class WeightsReporter(Reporter):
    """Says what becomes of each file and model."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        super().__init__(as_json=as_json, quiet=quiet)
        self._total = self._done = self._failed = 0
        self._failure: CoserError | None = None
        self._errors: set[str] = set()
        self._paths: dict[Path, None] = {}

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        """Print the paths of what was done, unless that was deleted since."""
        for path in self._paths:
            if path.exists():
                self.output(str(path))
        super().__exit__(_kind, error, _trace)

    def outcome(self, ended: Outcome) -> None:
        self._total += 1
        is_quiet = ended.status in QUIET_STATES
        if ended.error is not None:
            self._failed += 1
            self._failure = ended.error
            if str(ended.error) not in self._errors:  # one file may fail several models
                self.error(ended.error)
            self._errors.add(str(ended.error))
        elif not is_quiet:
            self._done += 1
        if ended.missing and ended.error is None:
            self.message(f"{ended.name} is not installed yet: it needs {', '.join(ended.missing)}")
        if self.as_json:
            self.record(ended.kind, outcome_record(ended))
        elif ended.error is None and not is_quiet and not self.quiet:
            self._paths[ended.path] = None

    def pin(self, pin: Pin) -> None:
        """What a host says about one source."""
        self._total += 1
        if pin.problem:
            self._failed += 1
        else:
            self._done += 1
        if self.as_json:
            self.record("pin", asdict(pin))
            return
        self.output(f"{pin.name}  {pin.url}")
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
                self.output(f"  {name}: {value}")

    def file(self, path: Path) -> None:
        """A file that was written beside the weights: its path on stdout."""
        self._total += 1
        self._done += 1
        if self.as_json:
            self.record("manifest", {"path": str(path)})
        else:
            self.output(str(path))

    def end(self) -> Exit:
        """Everything has ended; returns the exit code."""
        self.close_bars()
        code = Exit.WEIGHTS if self._failed else Exit.OK
        if self.as_json:
            status = "success" if code is Exit.OK else "partial" if self._done else "error"
            self.summary(status, code, self._failure)
        return code

    @property
    def has_done_anything(self) -> bool:
        return self._done + self._failed > 0

    def counts(self) -> dict[str, int]:
        return {"total": self._total, "done": self._done, "failed": self._failed}

    def interruption(self) -> str:
        return "interrupted; the same command goes on where it was"


def outcome_record(ended: Outcome) -> dict[str, Any]:
    """One line of `--json`; its keys are a contract with scripts."""
    record: dict[str, Any] = {
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
            reporter.record("set", asdict(each))
        for name in manifest.files:
            reporter.record("file", _file_record(inventory, name))
        for one in manifest.licenses.values():
            reporter.record("license", asdict(one))
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
