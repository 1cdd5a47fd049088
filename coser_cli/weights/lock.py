"""`coser.lock.json`: what an installed model was made of, and what its files must be; and the
fingerprint that differs where the weights of two models differ.

The lock lies in the model's folder and names every other file there with its size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coser_cli.errors import WeightsError, reason_of, shown
from coser_cli.version import __version__
from coser_cli.weights.store import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from coser_cli.weights.safetensors_writer import Written

LOCK_FILE = "coser.lock.json"
SCHEMA = 1
WHOLE_BYTES = 64 * 2**20
"""Size of a file up to which all of it is hashed."""
BLOCK_BYTES, BLOCKS = 2**20, 64
"""Of a larger one: this many evenly spaced blocks, the first and the last bytes among them."""


def hash_file(path: Path) -> Written:
    """Size and SHA-256 of a file. Raises OSError."""
    from coser_cli.weights.safetensors_writer import (
        Written,  # imports torch, which reading a lock needs not
    )

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
    from importlib.metadata import version  # takes longer than to read a lock file

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
        lock = json.loads((folder / LOCK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(lock, dict) and lock.get("schema") == SCHEMA
    return lock if known and isinstance(lock.get("files"), dict) else None


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
        sha256 = hash_file(file).sha256
    except OSError as error:
        return f"{shown(file)}: {reason_of(error)}"
    if sha256 != expected["sha256"]:
        return f"{shown(file)}: sha256 is {sha256}, not {expected['sha256']}"
    return ""


def fingerprint(folder: Path) -> str:
    """SHA-256 over a model's files, as hexadecimal digits; found again where one has changed.

    Files that `coser.lock.json` names, and that still have the size it says, count with the hash it
    says. Others count with their size and their content: all of it up to `WHOLE_BYTES`, else
    `BLOCKS` evenly spaced blocks, the safetensors header among them. Training changes every tensor,
    so another training shows; a change of some single numbers between the blocks does not.
    Raises `WeightsError`.
    """
    folder = folder.absolute()
    try:
        files = _files(folder)
        changed = tuple(_changed(file) for file in (*files, folder / LOCK_FILE))
        return _fingerprint(folder, tuple(files), changed)
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be read ({reason_of(error)})") from error


@lru_cache(maxsize=16)
def _fingerprint(folder: Path, files: tuple[Path, ...], _changed: object) -> str:
    lock = read_lock(folder)
    locked = {} if lock is None else lock["files"]
    total = hashlib.sha256()
    for file in files:
        name = file.relative_to(folder).as_posix()
        size, known = file.stat().st_size, locked.get(name)
        if isinstance(known, dict) and known.get("bytes") == size and "sha256" in known:
            content = known["sha256"]
        else:
            content = _content(file, size)
        total.update(f"{name} {size} {content}\n".encode())
    return total.hexdigest()


def _changed(file: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where there is none."""
    with suppress(FileNotFoundError):
        status = file.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


def _files(folder: Path) -> list[Path]:
    """Everything that networks are built from."""
    parts = [*folder.glob(f"*/{WEIGHTS_FILE}"), *folder.glob(f"*/{CONFIG_FILE}")]
    return sorted([folder / MODEL_FILE, *parts])


def _content(file: Path, size: int) -> str:
    with file.open("rb") as stream:
        if size <= WHOLE_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256()
        for number in range(BLOCKS):
            stream.seek((size - BLOCK_BYTES) * number // (BLOCKS - 1))
            digest.update(stream.read(BLOCK_BYTES))
        return digest.hexdigest()
