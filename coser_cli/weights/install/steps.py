"""From files at hand to installed models.

`model.py` does the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from coser_cli.weights.checkpoints.open import Origin
from coser_cli.weights.install.inventory import Inventory
from coser_cli.weights.install.model import OnProgress, OnWarning, add_parts, missing_files
from coser_cli.weights.manifest import Variant


@dataclass(frozen=True)
class Inputs:
    """What a variant is made of: origins by id, ids of the files that serve, missing ids."""

    origins: dict[str, Origin]
    used: tuple[str, ...]
    missing: tuple[str, ...]


def gather(inventory: Inventory, variant: Variant, *, strict: bool) -> Inputs:
    """What is at hand for a variant, and what it still needs; `strict` as for `install_model`.

    Raises WeightsError if a file at hand cannot be opened or is not what its id says.
    """
    own = [*variant.files, *([variant.base] if variant.base else [])]
    used = _substitutes(inventory, own)
    while True:
        origins = {name: _origin(inventory, substitute) for name, substitute in used.items()}
        more = missing_files(variant, origins, strict=strict)
        more_used = _substitutes(inventory, more)
        used |= more_used
        missing = tuple(name for name in more if name not in more_used)
        if missing or not more_used:
            return Inputs(origins, tuple(inventory.single(used.values())), missing)


def extend(
    inventory: Inventory,
    variant: Variant,
    on_progress: OnProgress,
    on_warning: OnWarning,
    *,
    strict: bool,
) -> tuple[str, ...]:
    """Add optional files at hand to an installed model that has the others; returns their ids."""
    new = [name for name in variant.optional if not inventory.is_in(name, variant)]
    used = _substitutes(inventory, new)
    if not used:
        return ()
    origins = {name: _origin(inventory, substitute) for name, substitute in used.items()}
    root = inventory.root
    add_parts(variant, origins, root, on_progress, strict=strict, on_warning=on_warning)
    return tuple(inventory.single(used.values()))


def drop_originals(inventory: Inventory, names: Iterable[str]) -> None:
    """Delete published files that have been converted, and the folders that this leaves empty."""
    for name in names:
        path = inventory.path(name)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for folder in path.parents:
                if folder == inventory.root:
                    break
                folder.rmdir()


def _substitutes(inventory: Inventory, names: Iterable[str]) -> dict[str, str]:
    """Files at hand that serve for these, by what they serve for."""
    return {name: file for name in names if (file := inventory.substitute(name))}


def _origin(inventory: Inventory, name: str) -> Origin:
    file = inventory.file(name)
    sha256 = None if file.parts else inventory.known_hash(name)
    return Origin(inventory.path(name), file.format, file.safe_globals, sha256, name)
