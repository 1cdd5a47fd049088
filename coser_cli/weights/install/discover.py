"""Files of a manifest that lie in a folder of the user's: known by name, by hash or by content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coser_cli.errors import UsageError, WeightsError, shown
from coser_cli.weights.file_kinds import file_kind
from coser_cli.weights.install.inventory import Inventory, OnBytes, hash_of
from coser_cli.weights.manifest import WeightFile

WEIGHTS_SUFFIXES = {".ckpt", ".safetensors", ".bin", ".pt", ".pth"}


@dataclass(frozen=True)
class Match:
    """A file of the user's; `description` says what it is where only its content says so."""

    path: Path
    description: str = ""


def discover(
    inventory: Inventory, folder: Path, on_bytes: OnBytes, say: Callable[[str], None]
) -> dict[str, Match]:
    """Files of the manifest that lie in `folder`, by id: by name, or by size and hash, or, where
    no hash is known for an id, by the names of the tensors in them.

    Files of one name are distinguished by size. Raises UsageError if it is no folder, or if several
    files could be the same one by their content.
    """
    if not folder.is_dir():
        raise UsageError(f"{shown(folder)} is no folder", "check --from-dir")
    matches: dict[str, Match] = {}
    others: list[Path] = []
    for path in sorted(_files_below(folder)):
        name = _named(inventory, path) or _hashed(inventory, path, on_bytes)
        if name is None:
            others.append(path)
        elif name in matches:
            say(f"{shown(path)} looks like {name}, too; {shown(matches[name].path)} is taken")
        else:
            matches[name] = Match(path)
    return matches | _by_content(inventory, others, matches, say)


def _by_content(
    inventory: Inventory, paths: list[Path], matches: dict[str, Match], say: Callable[[str], None]
) -> dict[str, Match]:
    """Those of `paths` that are what the manifest has no hash for, and `matches` does not have."""
    candidates: dict[str, list[Match]] = {}
    for path in paths:
        try:
            kind = file_kind(path)
        except WeightsError as error:
            if path.suffix in WEIGHTS_SUFFIXES:
                say(f"left out: {error.message}")
            continue
        if kind != "pickle":
            for name, match in _recognised(inventory, path, say).items():
                if name not in matches:
                    candidates.setdefault(name, []).append(match)
    for name, several in candidates.items():
        if len(several) > 1:
            listed = ", ".join(shown(match.path) for match in several)
            raise UsageError(
                f"several files could be {name!r}: {listed}", f"name one: --import FILE --as {name}"
            )
    return {name: match for name, (match,) in candidates.items()}


def _recognised(inventory: Inventory, path: Path, say: Callable[[str], None]) -> dict[str, Match]:
    """The id that a checkpoint can stand for, with what it is."""
    from coser_cli.weights.checkpoints.open import Origin, open_checkpoint  # imports torch
    from coser_cli.weights.checkpoints.recognise import recognise
    from coser_cli.weights.checkpoints.sources import KINDS, role_of

    files = inventory.manifest.files.values()
    allowed = tuple({name for file in files for name in file.safe_globals})
    try:
        kind = recognise(open_checkpoint(Origin(path, "lightning-ckpt", allowed)))
    except WeightsError as error:
        say(f"left out: {error.message}")
        return {}
    able = [file for file in files if kind.name and kind.name in KINDS.get(role_of(file.id), ())]
    unpinned = [
        file.id for file in able if not file.parts and inventory.known_hash(file.id) is None
    ]
    if not unpinned:
        known = f", but none of the files whose hash is known ({', '.join(f.id for f in able)})"
        say(f"left out: {shown(path)} is {kind.description}{known if able else ''}")
        return {}
    return {unpinned[0]: Match(path, kind.description)}


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def _named(inventory: Inventory, path: Path) -> str | None:
    """The id of the one file that is called so."""
    fits = [file for file in inventory.manifest.files.values() if path.name in _names(file)]
    if len(fits) > 1:
        size = path.stat().st_size
        fits = [file for file in fits if file.size == size]
    return fits[0].id if len(fits) == 1 else None


def _names(file: WeightFile) -> set[str]:
    """What the file is called here and at its sources."""
    places = [file.dest, *(source.path for source in file.sources)]
    places += [source.url.partition("?")[0] for source in file.sources]
    return {PurePosixPath(place).name for place in places if place} if not file.parts else set()


def _hashed(inventory: Inventory, path: Path, on_bytes: OnBytes) -> str | None:
    """The id of the file with this size and hash."""
    size = path.stat().st_size
    names = [name for name in inventory.manifest.files if inventory.bytes_of(name) == size]
    names = [name for name in names if inventory.known_hash(name) is not None]
    if not names:
        return None
    sha256 = hash_of(path, on_bytes)
    return next((name for name in names if inventory.known_hash(name) == sha256), None)
