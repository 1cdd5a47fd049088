"""What tells one model's weights from another's, without reading gigabytes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from coser_cli.errors import WeightsError
from coser_cli.weights.lock import read_lock
from coser_cli.weights.store import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE

WHOLE_BYTES = 64 * 2**20
"""Size of a file up to which all of it is hashed."""
BLOCK_BYTES, BLOCKS = 2**20, 64
"""Of a larger one: this many evenly spaced blocks, the first and the last bytes among them."""


@cache
def fingerprint(folder: Path) -> str:
    """SHA-256 over a model's files, as hexadecimal digits; found once per process.

    Files that `coser.lock.json` names, and that still have the size it says, count with the hash it
    says. Others count with their size and their content: all of it up to `WHOLE_BYTES`, else
    `BLOCKS` evenly spaced blocks, the safetensors header among them. Training changes every tensor,
    so another training shows; a change of some single numbers between the blocks does not.
    Raises `WeightsError`.
    """
    lock = read_lock(folder)
    locked = {} if lock is None else lock["files"]
    total = hashlib.sha256()
    try:
        for file in _files(folder):
            name = file.relative_to(folder).as_posix()
            size, known = file.stat().st_size, locked.get(name)
            if isinstance(known, dict) and known.get("bytes") == size and "sha256" in known:
                content = known["sha256"]
            else:
                content = _content(file, size)
            total.update(f"{name} {size} {content}\n".encode())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"{folder}: cannot be read ({reason})") from error
    return total.hexdigest()


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
