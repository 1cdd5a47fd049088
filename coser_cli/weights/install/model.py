"""Published checkpoints → an installed model: every name accounted for, written once, swapped in.

Of the networks nothing is built but their shapes, and no more than one tensor is in memory at a
time; the checkpoints are mapped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coser_cli.config import ModelConfig
from coser_cli.errors import WeightsError, shown
from coser_cli.models.build import make_network, skeleton
from coser_cli.weights.checkpoints.names import published_name, some
from coser_cli.weights.checkpoints.open import Origin, files_of
from coser_cli.weights.checkpoints.sources import (
    GROUPS,
    HOLDS,
    PartTensors,
    Source,
    Variant,
    chosen,
    config_of,
    group_of,
    nowhere,
    open_sources,
    required,
    role_of,
)
from coser_cli.weights.install.swap import swap_in, sync, temporary_folder
from coser_cli.weights.lock import LOCK_FILE, hash_file, verify_model, write_lock
from coser_cli.weights.safetensors_writer import Written, write_safetensors
from coser_cli.weights.store import (
    CONFIG_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    save_model_config,
    write_json,
)

__all__ = ["Origin", "Variant", "install_model", "lacking", "verify_model"]

OnProgress = Callable[[str, int, int], None]
"""(part that is being written, bytes written so far, bytes in all)."""

PARTS = ("srresnet", "vae", "cfw", "text", "cognitive_encoder", "unet", "controlnet")
DTYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class _Part:
    """One network of the model to be: its tensors and the configuration beside them."""

    name: str
    tensors: PartTensors
    config: dict[str, Any]

    def size(self, dtype: torch.dtype) -> int:
        """Bytes of the tensors when written."""
        return sum(tensor.numel() for tensor in self.tensors.values()) * dtype.itemsize


def lacking(variant: Variant, origins: Mapping[str, Origin]) -> list[str]:
    """Ids of files that are still needed beside `origins`: the variant's own files and its base
    first; where these are there, those of `variant.fallback` that hold what they lack.

    Reads names only. Raises WeightsError as `install_model` does for a wrong file, and where a
    network is missing that no fallback holds.
    """
    own = [file_id for file_id in variant.files if file_id not in variant.optional]
    absent = [i for i in (*own, variant.base) if i is not None and i not in origins]
    if absent:
        return absent
    sources = open_sources(variant, origins)
    missing = [g for g in required(variant) if chosen(variant, sources, g) is None]
    needed: set[str] = set()
    # the text tower is in two files: last, as it may have come with another network by then
    for group in sorted(missing, key="text".__eq__):
        holders = [i for i in variant.fallback if group in HOLDS.get(role_of(i), GROUPS)]
        holders = [file_id for file_id in holders if file_id not in origins]
        if not holders:
            raise nowhere(sources, [group])
        if needed.isdisjoint(holders):
            needed.add(holders[0])
    return [file_id for file_id in variant.fallback if file_id in needed]


def install_model(
    variant: Variant,
    origins: Mapping[str, Origin],
    root: Path,
    dtype: str = "float32",
    on_progress: OnProgress | None = None,
) -> Path:
    """Convert checkpoints (by file id) to the model `variant` below `root`; returns its folder.

    `dtype`: "float32" or "float16", of what is written. Written aside and swapped in when it is
    whole and on disk: on any failure a previous installation is what it was. Raises WeightsError
    for a file that is not what its id says, names that are missing or not known, wrong shapes, and
    where it cannot be written.
    """
    kept = DTYPES[dtype]
    sources = open_sources(variant, origins)
    config = config_of(variant)
    parts = _plan(variant, sources, config)
    target = root / variant.folder
    total = sum(part.size(kept) for part in parts)
    try:
        with temporary_folder(root) as aside:
            _require_space(aside, total)
            new = aside / "model"
            files = _write_parts(parts, new, kept, total, on_progress)
            save_model_config(config, new)
            files[MODEL_FILE] = hash_file(new / MODEL_FILE)
            facts = {file_id: _facts(origin) for file_id, origin in origins.items()}
            write_lock(new, variant.name, dtype, files, facts)
            for name in (MODEL_FILE, LOCK_FILE):
                sync(new / name)
            sync(new)
            swap_in(new, target)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(
            f"cannot install {variant.name!r} in {shown(root)}: {reason}",
            "nothing there was changed; free some space or name another folder",
        ) from error
    return target


def _plan(variant: Variant, sources: Mapping[str, Source], config: ModelConfig) -> list[_Part]:
    """All parts, every name found and of the right shape; else WeightsError, by file."""
    givers = {group: chosen(variant, sources, group) for group in GROUPS}
    missing = [group for group in required(variant) if givers[group] is None]
    if missing:
        raise nowhere(sources, missing)
    given = {group: source for group, source in givers.items() if source is not None}
    parts: list[_Part] = []
    faults: dict[Path, list[str]] = {}
    for name in PARTS:
        if name == "cfw" and "cfw" not in given:
            continue
        network: Any = skeleton(partial(make_network, config, name))
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        picks = {key: given[group_of(f"{name}/{key}")] for key in shapes}
        tensors = PartTensors(name, picks)
        for key, shape in shapes.items():
            fault = _fault(tensors, key, shape)
            if fault:
                old = published_name(picks[key].kind, f"{name}/{key}", config)
                faults.setdefault(picks[key].origin.path, []).append(f"{old} {fault}")
        parts.append(_Part(name, tensors, asdict(network.config)))
    if faults:
        each = (f"{shown(path)}: {some(found)}" for path, found in faults.items())
        raise WeightsError(f"the weights do not fit the model {variant.name!r} ({'; '.join(each)})")
    return parts


def _fault(tensors: PartTensors, key: str, shape: tuple[int, ...]) -> str:
    """What is wrong with one tensor, or nothing."""
    if key not in tensors:
        return "is missing"
    found = tuple(tensors[key].shape)
    return "" if found == shape else f"has the shape {found}, not {shape}"


def _write_parts(
    parts: list[_Part],
    folder: Path,
    dtype: torch.dtype,
    total: int,
    on_progress: OnProgress | None,
) -> dict[str, Written]:
    """Write every part's folder; returns size and hash of each file by its path below `folder`."""
    files: dict[str, Written] = {}
    done = 0
    for part in parts:
        place = folder / part.name
        place.mkdir(parents=True)

        def count(more: int, name: str = part.name) -> None:
            nonlocal done
            done = min(done + more, total)
            if on_progress is not None:
                on_progress(name, done, total)

        weights = place / WEIGHTS_FILE
        files[f"{part.name}/{WEIGHTS_FILE}"] = write_safetensors(
            weights, part.tensors, dtype, count
        )
        write_json(place / CONFIG_FILE, part.config)
        files[f"{part.name}/{CONFIG_FILE}"] = hash_file(place / CONFIG_FILE)
        sync(place / CONFIG_FILE)
        sync(place)
    return files


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(
            f"{shown(folder.parent)} has {free / 1e9:.1f} GB free, and the model takes "
            f"{needed / 1e9:.1f} GB",
            "free some space, choose float16, or name another folder",
        )


def _facts(origin: Origin) -> dict[str, Any]:
    """What the lock says about a checkpoint: the files it is made of, with size and hash."""
    facts: dict[str, Any] = {"format": origin.format, "files": {}}
    for file in files_of(origin):
        name = str(file.relative_to(origin.path)) if file != origin.path else file.name
        known = Written(file.stat().st_size, origin.sha256 or "")
        written = known if origin.sha256 and file == origin.path else hash_file(file)
        facts["files"][name] = asdict(written)
    return facts
