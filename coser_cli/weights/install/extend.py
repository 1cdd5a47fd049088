"""Parts added to an installed model without its checkpoints; what is there is only linked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coser_cli.errors import WeightsError, shown
from coser_cli.models.build import make_network, skeleton
from coser_cli.weights.checkpoints.open import Origin
from coser_cli.weights.checkpoints.sources import (
    PartTensors,
    Variant,
    config_of,
    group_of,
    open_sources,
)
from coser_cli.weights.install.model import DTYPES, PARTS, OnProgress
from coser_cli.weights.install.swap import swap_in, sync, temporary_folder
from coser_cli.weights.lock import LOCK_FILE, hash_file, read_lock, write_lock
from coser_cli.weights.safetensors_writer import Written, write_safetensors
from coser_cli.weights.store import CONFIG_FILE, WEIGHTS_FILE, write_json


def add_parts(
    variant: Variant, origins: Mapping[str, Origin], root: Path, on_progress: OnProgress
) -> Path:
    """Add the networks that the checkpoints `origins` hold whole; returns the model's folder.

    The number type is that of the installed model. The folder is built aside and swapped in: on
    any failure the model is what it was. Raises WeightsError as `install_model` does.
    """
    target = root / variant.folder
    lock = read_lock(target)
    if lock is None:
        raise WeightsError(
            f"{shown(target / LOCK_FILE)} is missing or damaged", "install the model again"
        )
    files = {name: Written(**written) for name, written in lock["files"].items()}
    facts = dict(lock["origins"])
    try:
        with temporary_folder(root) as aside:
            new = aside / "model"
            shutil.copytree(target, new, copy_function=_link)
            for name, tensors, config in _parts(variant, origins):
                files |= _write(new, name, tensors, config, DTYPES[lock["dtype"]], on_progress)
            for name, origin in origins.items():
                size = origin.path.stat().st_size
                written = asdict(Written(size, origin.sha256 or ""))
                facts[name] = {"format": origin.format, "files": {origin.path.name: written}}
            (new / LOCK_FILE).unlink()  # a link: the installed model's own must not change
            write_lock(new, variant.name, lock["dtype"], files, facts)
            sync(new / LOCK_FILE)
            sync(new)
            swap_in(new, target)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(
            f"cannot add to the model in {shown(target)}: {reason}",
            "nothing there was changed; free some space or name another folder",
        ) from error
    return target


def _link(source: str, target: str) -> None:
    """A hard link where the file system has them, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _parts(
    variant: Variant, origins: Mapping[str, Origin]
) -> list[tuple[str, PartTensors, dict[str, Any]]]:
    """Name, tensors and configuration of each network; raises WeightsError if one is not whole."""
    config = config_of(variant)
    found = []
    for source in open_sources(variant, origins).values():
        for name in [part for part in PARTS if part in source.groups]:
            network: Any = skeleton(partial(make_network, config, name))
            shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
            own = {key: source for key in shapes if group_of(f"{name}/{key}") == name}
            tensors = PartTensors(name, own)
            wrong = [
                key
                for key, shape in shapes.items()
                if key not in tensors or tuple(tensors[key].shape) != shape
            ]
            if wrong:
                raise WeightsError(
                    f"{shown(source.origin.path)} does not fit the model {variant.name!r}: "
                    f"missing or of another shape: {', '.join(sorted(wrong)[:8])}"
                )
            found.append((name, tensors, asdict(network.config)))
    return found


def _write(
    folder: Path,
    name: str,
    tensors: PartTensors,
    config: dict[str, Any],
    dtype: torch.dtype,
    on_progress: OnProgress,
) -> dict[str, Written]:
    """Write one part's folder afresh; returns size and hash of its files."""
    place = folder / name
    if place.exists():
        shutil.rmtree(place)
    place.mkdir()
    total = sum(tensor.numel() for tensor in tensors.values()) * dtype.itemsize
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done = min(done + more, total)
        on_progress(name, done, total)

    weights = f"{name}/{WEIGHTS_FILE}"
    written = {weights: write_safetensors(folder / weights, tensors, dtype, count)}
    write_json(place / CONFIG_FILE, config)
    written[f"{name}/{CONFIG_FILE}"] = hash_file(place / CONFIG_FILE)
    sync(place / CONFIG_FILE)
    sync(place)
    return written
