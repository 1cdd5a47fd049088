"""From files at hand to converted files and installed models, and into the ledger.

`model.py` does the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coser_cli.weights.checkpoints.open import Origin, convert_file
from coser_cli.weights.install.inventory import Stock
from coser_cli.weights.install.model import (
    OnProgress,
    OnWarning,
    add_parts,
    install_model,
    lacking,
)
from coser_cli.weights.manifest import Variant


@dataclass(frozen=True)
class Ingredients:
    """What a variant is made of: origins by id, ids of the files that serve, missing ids."""

    origins: dict[str, Origin]
    served: tuple[str, ...]
    missing: tuple[str, ...]


def gather(stock: Stock, variant: Variant, *, strict: bool) -> Ingredients:
    """What is at hand for a variant, and the ids of what it still needs; `strict` as for `install`.

    Raises WeightsError if a file at hand cannot be opened or is not what its id says.
    """
    own = [*variant.files, *([variant.base] if variant.base else [])]
    served = {name: serving for name in own if (serving := stock.substitute(name))}
    while True:
        origins = {name: _origin(stock, serving) for name, serving in served.items()}
        more = lacking(variant, origins, strict=strict)
        found = {name: serving for name in more if (serving := stock.substitute(name))}
        served |= found
        missing = tuple(name for name in more if name not in found)
        if missing or not found:
            return Ingredients(origins, tuple(stock.single(served.values())), missing)


def install(
    stock: Stock,
    variant: Variant,
    ready: Ingredients,
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
        stock.root,
        dtype,
        on_progress,
        strict=strict,
        on_warning=on_warning,
    )


def extend(
    stock: Stock, variant: Variant, on_progress: OnProgress, on_warning: OnWarning, *, strict: bool
) -> tuple[str, ...]:
    """Add optional files at hand to an installed model that has the others; returns their ids."""
    new = [name for name in variant.optional if not stock.is_in(name, variant)]
    served = {name: serving for name in new if (serving := stock.substitute(name))}
    if not served:
        return ()
    origins = {name: _origin(stock, serving) for name, serving in served.items()}
    root = stock.root
    add_parts(variant, origins, root, on_progress, strict=strict, on_warning=on_warning)
    return tuple(stock.single(served.values()))


def convert(stock: Stock, name: str) -> Path:
    """Write the safetensors file that the manifest wants of a pickled one; returns its path."""
    conversion = stock.file(name).convert
    assert conversion is not None
    target = stock.root / conversion.to
    convert_file(_origin(stock, name), target)
    source = stock.known_hash(name)
    assert source is not None
    stock.record_conversion(name, target, source)
    return target


def drop_originals(stock: Stock, names: Iterable[str]) -> None:
    """Delete published files that have been converted, and the folders that this leaves empty."""
    for name in names:
        path = stock.path(name)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for folder in path.parents:
                if folder == stock.root:
                    break
                folder.rmdir()


def _origin(stock: Stock, name: str) -> Origin:
    file = stock.file(name)
    key = file.convert.key if file.convert else None
    sha256 = None if file.parts else stock.known_hash(name)
    return Origin(stock.path(name), file.format, file.safe_globals, key, sha256, name)
