"""From files at hand to converted files and installed models, and into the record.

`model.py` does the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coser_cli.weights.checkpoints.open import Origin, convert_file
from coser_cli.weights.install.inventory import Inventory
from coser_cli.weights.install.model import (
    OnProgress,
    OnWarning,
    add_parts,
    install_model,
    lacking,
)
from coser_cli.weights.manifest import Variant


@dataclass(frozen=True)
class Inputs:
    """What a variant is made of: origins by id, ids of the files that serve, missing ids."""

    origins: dict[str, Origin]
    served: tuple[str, ...]
    missing: tuple[str, ...]


def gather(inventory: Inventory, variant: Variant, *, strict: bool) -> Inputs:
    """What is at hand for a variant, and the ids of what it still needs; `strict` as for `install`.

    Raises WeightsError if a file at hand cannot be opened or is not what its id says.
    """
    own = [*variant.files, *([variant.base] if variant.base else [])]
    served = {name: serving for name in own if (serving := inventory.substitute(name))}
    while True:
        origins = {name: _origin(inventory, serving) for name, serving in served.items()}
        more = lacking(variant, origins, strict=strict)
        more_served = {name: serving for name in more if (serving := inventory.substitute(name))}
        served |= more_served
        missing = tuple(name for name in more if name not in more_served)
        if missing or not more_served:
            return Inputs(origins, tuple(inventory.single(served.values())), missing)


def install(
    inventory: Inventory,
    variant: Variant,
    ready: Inputs,
    dtype: str,
    on_progress: OnProgress,
    on_warning: OnWarning,
    *,
    strict: bool,
) -> Path:
    """Convert what was gathered into the installed model; returns its folder."""
    return install_model(
        variant,
        ready.origins,
        inventory.root,
        dtype,
        on_progress,
        strict=strict,
        on_warning=on_warning,
    )


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
    served = {name: serving for name in new if (serving := inventory.substitute(name))}
    if not served:
        return ()
    origins = {name: _origin(inventory, serving) for name, serving in served.items()}
    root = inventory.root
    add_parts(variant, origins, root, on_progress, strict=strict, on_warning=on_warning)
    return tuple(inventory.single(served.values()))


def convert(inventory: Inventory, name: str) -> Path:
    """Write the safetensors file that the manifest wants of a pickled one; returns its path."""
    conversion = inventory.file(name).convert
    assert conversion is not None
    target = inventory.root / conversion.to
    convert_file(_origin(inventory, name), target)
    source = inventory.known_hash(name)
    assert source is not None
    inventory.record_conversion(name, target, source)
    return target


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


def _origin(inventory: Inventory, name: str) -> Origin:
    file = inventory.file(name)
    key = file.convert.key if file.convert else None
    sha256 = None if file.parts else inventory.known_hash(name)
    return Origin(inventory.path(name), file.format, file.safe_globals, key, sha256, name)
