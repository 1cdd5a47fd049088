"""What a checkpoint is by the names in it, before it is taken for a file without a known hash."""

from __future__ import annotations

from pathlib import Path

from coser_cli.errors import WeightsError
from coser_cli.weights.install.inventory import Inventory


def require_contents(inventory: Inventory, name: str, path: Path, *, readable: bool) -> None:
    """Raise WeightsError if the checkpoint at `path` cannot serve as the file `name`: its hash
    would be recorded, and the right file refused from then on.

    `readable`: also if it cannot be opened, as with a class that is not known; otherwise that is
    left to the installation, which says the same and keeps the file.
    """
    from coser_cli.weights.checkpoints.open import Origin, open_checkpoint  # imports torch
    from coser_cli.weights.checkpoints.recognise import recognise
    from coser_cli.weights.checkpoints.sources import KINDS, require_kind, role_of

    manifest, file = inventory.manifest, inventory.file(name)
    is_part = any(name in other.parts for other in manifest.files.values())
    bases = {variant.base for variant in manifest.variants.values()}
    if is_part or (role_of(name) not in KINDS and name not in bases):
        return
    try:
        tensors = open_checkpoint(Origin(path, file.format, file.safe_globals, None, name))
    except WeightsError:
        if readable:
            raise
        return
    require_kind(recognise(tensors), name, path, is_base=name in bases)
