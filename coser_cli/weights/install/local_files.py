"""Files that the user already has, taken into the weights folder through the same checks."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from coser_cli.errors import WeightsError, reading, shown
from coser_cli.weights.fetch.partial import CHUNK, cannot_write
from coser_cli.weights.file_kinds import AGAIN, HEAD_BYTES, not_weights, require_format
from coser_cli.weights.install.contents import require_contents
from coser_cli.weights.install.inventory import Inventory, OnBytes, hash_of
from coser_cli.weights.manifest import WeightFile


def import_file(
    inventory: Inventory, name: str, source: Path, on_bytes: OnBytes, *, link: bool
) -> None:
    """Verify the user's file `source` as `name`, and put it at its place; it is never changed.

    `link`: a hard link will do where the file system allows one, as for a file that is converted
    and not kept. Raises WeightsError, having changed nothing, if the file is another.
    """
    file, target, known = inventory.file(name), inventory.path(name), inventory.known_hash(name)
    _refuse(source, file, known)
    if known is None:
        require_contents(inventory, name, source, readable=True)
    if target.exists() and os.path.samefile(source, target):
        if not inventory.check(name, on_bytes):
            raise _other(inventory, source, name, hash_of(source, on_bytes))
        return
    part = target.with_name(f".{target.name}.import")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        sha256 = _linked(source, part, on_bytes) if link else None
        sha256 = sha256 or _copied(source, part, on_bytes)
        if known is not None and sha256 != known:
            raise _other(inventory, source, name, sha256)
        os.replace(part, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    inventory.record(name, sha256, f"imported from {source}")


def _refuse(source: Path, file: WeightFile, known: str | None) -> None:
    """Raise WeightsError if size or first bytes say that it is not the file."""
    name = shown(source)
    with reading(source, WeightsError, "check --import"), source.open("rb") as opened:
        size, head = source.stat().st_size, opened.read(HEAD_BYTES)
    if other := not_weights(head):
        raise WeightsError(f"{name} is {other}", AGAIN)
    if file.size is not None and size != file.size:
        hint = "it is another file, or was not fetched to its end"
        raise WeightsError(f"{name} has {size} bytes, and {file.id} has {file.size}", hint)
    if known is None:
        require_format(source, file.format)


def _other(inventory: Inventory, source: Path, name: str, sha256: str) -> WeightsError:
    return WeightsError(
        f"{shown(source)} is not {name}: its SHA-256 is {sha256}, not {inventory.known_hash(name)}",
        "it is damaged or another file; fetch it again" + inventory.way_round(name),
    )


def _linked(source: Path, part: Path, on_bytes: OnBytes) -> str | None:
    """The hash of the file, now linked as `part`; None where that cannot be done."""
    try:
        os.link(source.resolve(), part)
    except OSError:
        return None
    return hash_of(part, on_bytes)


def _copied(source: Path, part: Path, on_bytes: OnBytes) -> str:
    """The hash of the bytes copied to `part`. Raises OSError, WeightsError if there is no room."""
    total, done = source.stat().st_size, 0
    free = shutil.disk_usage(part.parent).free
    if total > free:
        raise WeightsError(
            f"{shown(source)} needs {total} bytes in {shown(part.parent)}, where {free} are free",
            "free some space, or choose another folder by --dest",
        )
    digest = hashlib.sha256()
    with source.open("rb") as reader, part.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            done += len(chunk)
            on_bytes(done, total)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()
