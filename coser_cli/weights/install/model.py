"""Published checkpoints → an installed model: every name accounted for, written once, swapped in.

Of the networks nothing is built but their shapes, and no more than one tensor is in memory at a
time; the checkpoints are mapped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coser_cli.config import ModelConfig
from coser_cli.errors import WeightsError, reason_of, shown
from coser_cli.models.build import make_network, skeleton
from coser_cli.weights.checkpoints.names import first_few, published_name
from coser_cli.weights.checkpoints.open import LazyTensors, Origin, files_of
from coser_cli.weights.checkpoints.sources import (
    GROUPS,
    HOLDS,
    Checkpoint,
    chosen,
    config_of,
    group_of,
    missing_networks,
    open_sources,
    part_tensors,
    required,
    role_of,
)
from coser_cli.weights.install.swap import swap_in, sync, temporary_folder
from coser_cli.weights.lock import LOCK_FILE, hash_file, read_lock, verify_model, write_lock
from coser_cli.weights.manifest import Variant
from coser_cli.weights.safetensors_writer import Written, write_safetensors
from coser_cli.weights.store import (
    CONFIG_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    save_model_config,
    write_json,
)

__all__ = ["Origin", "Variant", "install_model", "missing_files", "verify_model"]

OnProgress = Callable[[str, int, int], None]
"""(part that is being written, bytes written so far, bytes in all)."""
OnWarning = Callable[[str], None]

PARTS = ("srresnet", "vae", "cfw", "text", "cognitive_encoder", "unet", "controlnet")
DTYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class _Part:
    """One network of the model to be: its tensors and the configuration beside them."""

    name: str
    tensors: LazyTensors
    config: dict[str, Any]

    def size(self, dtype: torch.dtype) -> int:
        """Bytes of the tensors when written."""
        return sum(tensor.numel() for tensor in self.tensors.values()) * dtype.itemsize


def missing_files(
    variant: Variant, origins: Mapping[str, Origin], *, strict: bool = False
) -> list[str]:
    """Ids of files that are still needed beside `origins`: the variant's own files and its base
    first; where these are there, those of `variant.fallback` that hold the missing networks.

    Reads names only. Raises WeightsError as `install_model` does for a wrong file, and where a
    network is missing that no fallback holds.
    """
    own = [file_id for file_id in variant.files if file_id not in variant.optional]
    absent = [i for i in (*own, variant.base) if i is not None and i not in origins]
    if absent:
        return absent
    sources = open_sources(variant, origins, strict=strict)
    missing = [g for g in required(variant) if chosen(variant, sources, g) is None]
    needed: set[str] = set()
    # the text tower is in two files: last, as it may have come with another network by then
    for group in sorted(missing, key="text".__eq__):
        holders = [i for i in variant.fallback if group in HOLDS.get(role_of(i), GROUPS)]
        holders = [file_id for file_id in holders if file_id not in origins]
        if not holders:
            raise missing_networks(sources, [group])
        if needed.isdisjoint(holders):
            needed.add(holders[0])
    return [file_id for file_id in variant.fallback if file_id in needed]


def install_model(
    variant: Variant,
    origins: Mapping[str, Origin],
    root: Path,
    dtype: str = "float32",
    on_progress: OnProgress | None = None,
    *,
    strict: bool = False,
    on_warning: OnWarning | None = None,
) -> Path:
    """Convert checkpoints (by file id) to the model `variant` below `root`; returns its folder.

    `dtype`: "float32" or "float16", of what is written. Names that no network needs are left out:
    `on_warning` hears of it, the lock file counts them, and `strict` refuses them. Written aside
    and swapped in when it is whole and on disk: on any failure a previous installation is what it
    was. Raises WeightsError for a file that is not what its id says, names that are missing, wrong
    shapes, and where it cannot be written.
    """
    config = config_of(variant)
    networks = _networks(config)
    sources = _opened(variant, origins, networks, strict=strict)
    givers = {group: chosen(variant, sources, group) for group in GROUPS}
    missing = [group for group in required(variant) if givers[group] is None]
    if missing:
        raise missing_networks(sources, missing)
    by_group = {group: source for group, source in givers.items() if source is not None}
    names = [name for name in PARTS if name != "cfw" or "cfw" in by_group]
    parts = _fitting_parts(variant, {name: networks[name] for name in names}, by_group, config)
    _warn_of_surplus(sources.values(), on_warning)
    total = sum(part.size(DTYPES[dtype]) for part in parts)
    with _built_aside(variant, root, total) as new:
        files = _write_parts(parts, new, DTYPES[dtype], total, on_progress)
        save_model_config(config, new)
        files[MODEL_FILE] = hash_file(new / MODEL_FILE)
        sync(new / MODEL_FILE)
        write_lock(new, variant.name, dtype, files, _facts(sources))
    return root / variant.folder


def add_parts(
    variant: Variant,
    origins: Mapping[str, Origin],
    root: Path,
    on_progress: OnProgress | None = None,
    *,
    strict: bool = False,
    on_warning: OnWarning | None = None,
) -> Path:
    """Add the networks that the checkpoints `origins` hold whole to the installed model, as
    `install_model` does, in its number type; what is there is linked, not written again.
    """
    target = root / variant.folder
    lock = read_lock(target)
    if lock is None:
        raise WeightsError(
            f"{shown(target / LOCK_FILE)} is missing or damaged",
            f"delete {shown(target)}, and run the same command again",
        )
    config = config_of(variant)
    networks = _networks(config)
    sources = _opened(variant, origins, networks, strict=strict)
    by_group = {group: source for source in sources.values() for group in source.groups}
    names = [name for name in PARTS if name in by_group]
    parts = _fitting_parts(variant, {name: networks[name] for name in names}, by_group, config)
    _warn_of_surplus(sources.values(), on_warning)
    dtype = DTYPES[lock["dtype"]]
    total = sum(part.size(dtype) for part in parts)
    with _built_aside(variant, root, total) as new:
        shutil.copytree(target, new, copy_function=_link)
        for name in names:
            shutil.rmtree(new / name, ignore_errors=True)
        files = {name: Written(**facts) for name, facts in lock["files"].items()}
        files |= _write_parts(parts, new, dtype, total, on_progress)
        (new / LOCK_FILE).unlink()  # a link: the installed model's own must not change
        facts = lock["origins"] | _facts(sources)
        write_lock(new, variant.name, lock["dtype"], files, facts)
    return target


@dataclass(frozen=True)
class _Network:
    """What a network needs: the shape of every tensor by our name; and its configuration."""

    shapes: dict[str, tuple[int, ...]]
    config: dict[str, Any]


def _networks(config: ModelConfig) -> dict[str, _Network]:
    """All networks of a model, by the names of their folders."""
    networks = {}
    for name in PARTS:
        network: Any = skeleton(partial(make_network, config, name))
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        networks[name] = _Network(shapes, asdict(network.config))
    return networks


def _opened(
    variant: Variant,
    origins: Mapping[str, Origin],
    networks: Mapping[str, _Network],
    *,
    strict: bool,
) -> dict[str, Checkpoint]:
    """All checkpoints by file id, each knowing what of it no network needs."""
    opened = open_sources(variant, origins, strict=strict)
    needed = {name: network.shapes for name, network in networks.items()}
    sources = {file_id: source.with_unknown_leaves(needed) for file_id, source in opened.items()}
    if strict:
        for source in sources.values():
            source.refuse_unknown()
    return sources


@contextmanager
def _built_aside(variant: Variant, root: Path, needed: int) -> Iterator[Path]:
    """A folder to build the model in, which becomes the installed one at the end of the block."""
    try:
        with temporary_folder(root) as aside:
            _require_space(aside, needed)
            new = aside / "model"
            yield new
            sync(new / LOCK_FILE)
            sync(new)
            swap_in(new, root / variant.folder)
    except OSError as error:
        raise WeightsError(
            f"cannot install {variant.name!r} in {shown(root)}: {reason_of(error)}",
            "nothing there was changed; free some space or name another folder",
        ) from error


def _link(source: str, target: str) -> None:
    """A hard link where the file system has them, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _warn_of_surplus(sources: Iterable[Checkpoint], on_warning: OnWarning | None) -> None:
    for source in sources:
        surplus = source.surplus
        if surplus is not None and on_warning is not None:
            on_warning(
                f"{shown(source.origin.path)} holds {surplus.names} names that no network needs "
                f"({first_few(surplus.prefixes)}; {surplus.bytes} bytes); they are left out, as "
                "the lock file says. --strict refuses such a file"
            )


def _fitting_parts(
    variant: Variant,
    networks: Mapping[str, _Network],
    by_group: Mapping[str, Checkpoint],
    config: ModelConfig,
) -> list[_Part]:
    """The parts of these names, every tensor there and of the right shape; else WeightsError, by
    file, with the names that are not known: a missing one may be among them.
    """
    parts: list[_Part] = []
    faults: dict[Path, list[str]] = {}
    for name, network in networks.items():
        picks = {key: by_group[group_of(f"{name}/{key}")] for key in network.shapes}
        tensors = part_tensors(name, picks)
        for key, shape in network.shapes.items():
            fault = _fault(tensors, key, shape)
            if fault:
                old = published_name(picks[key].kind, f"{name}/{key}", config)
                faults.setdefault(picks[key].origin.path, []).append(f"{old} {fault}")
        parts.append(_Part(name, tensors, network.config))
    if faults:
        each = (f"{shown(path)}: {first_few(faulty)}" for path, faulty in faults.items())
        unknown = {key for source in by_group.values() for key in source.unknown}
        more = f"; unknown names: {first_few(unknown)}" if unknown else ""
        raise WeightsError(
            f"the weights do not fit the model {variant.name!r} ({'; '.join(each)}{more})"
        )
    return parts


def _fault(tensors: LazyTensors, key: str, shape: tuple[int, ...]) -> str:
    """What is wrong with one tensor, or nothing."""
    if key not in tensors:
        return "is missing"
    actual = tuple(tensors[key].shape)
    return "" if actual == shape else f"has the shape {actual}, not {shape}"


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


def _facts(sources: Mapping[str, Checkpoint]) -> dict[str, Any]:
    """What the lock says about each checkpoint: its files with size and hash, and what was left
    out of it."""
    return {file_id: _file_facts(source) for file_id, source in sources.items()}


def _file_facts(source: Checkpoint) -> dict[str, Any]:
    origin = source.origin
    facts: dict[str, Any] = {"format": origin.format, "files": {}}
    for file in files_of(origin):
        name = str(file.relative_to(origin.path)) if file != origin.path else file.name
        known = Written(file.stat().st_size, origin.sha256 or "")
        written = known if origin.sha256 and file == origin.path else hash_file(file)
        facts["files"][name] = asdict(written)
    if source.surplus is not None:
        facts["surplus"] = asdict(source.surplus)
    return facts
