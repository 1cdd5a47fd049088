"""`coser.lock.json`: what an installed model was made of, and what its files must be.

It lies in the model's folder and names every other file there with its size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coser_cli import __version__
from coser_cli.errors import shown

if TYPE_CHECKING:
    from coser_cli.weights.stream import Written

LOCK_FILE = "coser.lock.json"
SCHEMA = 1


def hash_file(path: Path) -> Written:
    """Size and SHA-256 of a file. Raises OSError."""
    from coser_cli.weights.stream import Written  # imports torch, which reading a lock needs not

    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return Written(stream.tell(), digest.hexdigest())


def write_lock(
    folder: Path,
    variant: str,
    dtype: str,
    files: Mapping[str, Written],
    origins: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the lock file: `files` by their path below `folder`, `origins` by file id."""
    data = {
        "schema": SCHEMA,
        "variant": variant,
        "dtype": dtype,
        "files": {name: asdict(written) for name, written in sorted(files.items())},
        "origins": {file_id: dict(facts) for file_id, facts in sorted(origins.items())},
        "versions": {"coser": __version__, "torch": version("torch")},
        "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    text = json.dumps(data, indent=2) + "\n"
    (folder / LOCK_FILE).write_text(text, encoding="utf-8")


def read_lock(folder: Path) -> dict[str, Any] | None:
    """The lock file of a model; None where there is none, or none that can be understood."""
    try:
        found = json.loads((folder / LOCK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(found, dict) and found.get("schema") == SCHEMA
    return found if known and isinstance(found.get("files"), dict) else None


def verify_model(folder: Path) -> list[str]:
    """What is wrong with an installed model, a line each; empty where every file is as installed.

    Reads and hashes every file that the lock names.
    """
    lock = read_lock(folder)
    if lock is None:
        return [f"{shown(folder / LOCK_FILE)}: missing, or not a lock file"]
    faults = [_fault(folder / name, expected) for name, expected in lock["files"].items()]
    return [fault for fault in faults if fault]


def _fault(file: Path, expected: Mapping[str, Any]) -> str:
    try:
        size = file.stat().st_size
        if size != expected["bytes"]:
            return f"{shown(file)}: {size} bytes, not {expected['bytes']}"
        found = hash_file(file).sha256
    except OSError as error:
        return f"{shown(file)}: {(error.strerror or str(error)).lower()}"
    if found != expected["sha256"]:
        return f"{shown(file)}: sha256 is {found}, not {expected['sha256']}"
    return ""
