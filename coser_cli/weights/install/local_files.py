"""Files that the user already has, taken into the weights folder through the same checks."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from coser_cli.errors import UsageError, WeightsError, shown
from coser_cli.weights.fetch.partial import CHUNK, cannot_write
from coser_cli.weights.file_kinds import HEAD_BYTES, refuse_other_format, refuse_page
from coser_cli.weights.install.inventory import OnBytes, Stock, hash_of
from coser_cli.weights.manifest import WeightFile


def bring(stock: Stock, name: str, source: Path, on_bytes: OnBytes, *, link: bool) -> None:
    """Verify the user's file `source` as `name`, and put it at its place; it is never changed.

    `link`: a hard link will do where the file system allows one, as for a file that is converted
    and not kept. Raises WeightsError, having changed nothing, if the file is another.
    """
    file, target, known = stock.file(name), stock.path(name), stock.known_hash(name)
    _refuse(source, file, known)
    if target.exists() and os.path.samefile(source, target):
        if not stock.check(name, on_bytes):
            raise _other(source, name, hash_of(source, on_bytes), known)
        return
    part = target.with_name(f".{target.name}.import")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        sha256 = _linked(source, part, on_bytes) if link else None
        sha256 = sha256 or _copied(source, part, on_bytes)
        if known is not None and sha256 != known:
            raise _other(source, name, sha256, known)
        os.replace(part, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    stock.record(name, sha256, f"imported from {source}")


def _refuse(source: Path, file: WeightFile, known: str | None) -> None:
    """Raise WeightsError if size or first bytes say that it is not the file."""
    name = shown(source)
    try:
        size = source.stat().st_size
        with source.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"cannot read {name}: {reason}", "check --import") from error
    refuse_page(head, name)
    if file.size is not None and size != file.size:
        hint = "it is another file, or was not fetched to its end"
        raise WeightsError(f"{name} has {size} bytes, and {file.id} has {file.size}", hint)
    if known is None:
        refuse_other_format(source, file.format)


def _other(source: Path, name: str, sha256: str, known: str | None) -> WeightsError:
    return WeightsError(
        f"{shown(source)} is not {name}: its SHA-256 is {sha256}, not {known}",
        "it is damaged or another file; fetch it again",
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


def discover(
    stock: Stock, folder: Path, on_bytes: OnBytes, say: Callable[[str], None]
) -> dict[str, Path]:
    """Files of the manifest that lie in `folder`, by id: by name, or by size and hash.

    A name that several files have is told apart by size. Raises UsageError if it is no folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{shown(folder)} is no folder", "check --from-dir")
    found: dict[str, Path] = {}
    for path in sorted(_files_below(folder)):
        name = _named(stock, path) or _hashed(stock, path, on_bytes)
        if name is None:
            continue
        if name in found:
            say(f"{shown(path)} looks like {name}, too; {shown(found[name])} is taken")
        else:
            found[name] = path
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def _named(stock: Stock, path: Path) -> str | None:
    """The id of the one file that is called so."""
    fits = [file for file in stock.manifest.files.values() if path.name in _names(file)]
    if len(fits) > 1:
        size = path.stat().st_size
        fits = [file for file in fits if file.size == size]
    return fits[0].id if len(fits) == 1 else None


def _names(file: WeightFile) -> set[str]:
    """What the file is called here and at its sources."""
    places = [file.dest, *(source.path for source in file.sources)]
    places += [source.url.partition("?")[0] for source in file.sources]
    return {PurePosixPath(place).name for place in places if place} if not file.parts else set()


def _hashed(stock: Stock, path: Path, on_bytes: OnBytes) -> str | None:
    """The id of the file with this size and hash."""
    size = path.stat().st_size
    names = [name for name in stock.manifest.files if stock.bytes_of(name) == size]
    names = [name for name in names if stock.known_hash(name) is not None]
    if not names:
        return None
    sha256 = hash_of(path, on_bytes)
    return next((name for name in names if stock.known_hash(name) == sha256), None)
