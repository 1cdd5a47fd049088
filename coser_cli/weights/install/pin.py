"""A manifest that holds everybody to the files that were installed here: `--pin`."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from coser_cli.errors import WeightsError, shown
from coser_cli.version import __version__
from coser_cli.weights.install.inventory import Inventory
from coser_cli.weights.install.record import now
from coser_cli.weights.manifest import load_manifest

_UNPINNED = re.compile(r"(pin|estimate|size)\s*=")


def pinned_manifest(inventory: Inventory) -> tuple[str, list[str]]:
    """The text of the manifest in use, with size and SHA-256 of files that had none, and the ids
    of these.

    Raises WeightsError if nothing that was fetched or imported lacks a hash.
    """
    manifest = inventory.manifest
    facts = {}
    for name, file in manifest.files.items():
        installed = None if file.sha256 or file.parts else inventory.installed_hash(name)
        if installed is not None:
            facts[name] = installed
    if not facts:
        raise WeightsError(
            f"nothing in {shown(inventory.root)} is without a published hash",
            "fetch or import the weights first: coser download-weights",
        )
    pinned = ", ".join(facts)
    text = f"# Pinned by coser {__version__}, {now()}: {pinned}\n"
    text += _with_hashes(manifest.path.read_text(encoding="utf-8"), facts)
    _require(text, facts, manifest.path)
    return text, list(facts)


def _with_hashes(text: str, facts: dict[str, tuple[int, str]]) -> str:
    """The document line by line: in the table of each file two keys take the place of `pin`."""
    lines: list[str] = []
    name: str | None = None
    for line in text.splitlines():
        table = re.match(r"\[file\.\"?([\w.-]+?)\"?\]", line)
        if table or line.startswith("["):
            name = table[1] if table and table[1] in facts else None
            lines.append(line)
            if name:
                size, sha256 = facts[name]
                lines += [f"size = {size}", f'sha256 = "{sha256}"']
        elif not (name and _UNPINNED.match(line)):
            lines.append(line)
    return "\n".join(lines) + "\n"


def _require(text: str, facts: dict[str, tuple[int, str]], source: Path) -> None:
    """Raise WeightsError unless the text, read again, says what it should."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.toml"
        file.write_text(text, encoding="utf-8")
        files = load_manifest(file).files
    if any((files[name].size, files[name].sha256) != facts[name] for name in facts):
        raise WeightsError(
            f"{shown(source)} cannot be pinned: its tables are written in another way",
            "write one key a line below [file.NAME]",
        )
