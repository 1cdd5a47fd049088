"""Checkpoint files as they are published, opened safely and lazily: tensors are mapped, not read.

What a file is, its first bytes decide, not its name: a web page, a Git LFS pointer or half a file
each have their own message before any reader sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from coser_cli.errors import WeightsError, shown
from coser_cli.weights.checkpoints.pickles import load_pickle, refuse_bare_pickle
from coser_cli.weights.file_kinds import AGAIN, require_format
from coser_cli.weights.manifest import FORMATS

DIFFUSERS_PARTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Folders of a diffusers pipeline that are read, and the stem of the file in each."""
_SUFFIXES = (".safetensors", ".fp16.safetensors")


@dataclass(frozen=True)
class Origin:
    """A checkpoint on disk: a file, or with `format` "diffusers" a folder.

    `format`: one of `manifest.FORMATS`. `safe_globals`: whole dotted names that a pickle may hold
    beside tensors. `sha256` where it is known; it goes into the lock file, else the file is hashed
    for it.
    `file_id` is what the manifest calls it, for messages.
    """

    path: Path
    format: str
    safe_globals: tuple[str, ...] = ()
    sha256: str | None = None
    file_id: str = ""


class LazyTensors(Mapping[str, Tensor]):
    """Tensors by name, each read when it is asked for; `others` are names of what is no tensor."""

    def __init__(
        self, readers: Mapping[str, Callable[[], Tensor]], others: tuple[str, ...] = ()
    ) -> None:
        self._readers = readers
        self.others = others

    def __getitem__(self, name: str) -> Tensor:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def open_checkpoint(origin: Origin) -> LazyTensors:
    """Tensors of a checkpoint by their published names; of a diffusers folder with `unet.`, `vae.`
    or `text_encoder.` before them.

    A safetensors file is read as one whatever its `format` says; a pickle only where a pickle is
    expected. Raises WeightsError for anything that is not a whole checkpoint, and for a pickle
    that names more than tensors and `safe_globals`.
    """
    if origin.format not in FORMATS:
        raise WeightsError(f"unknown format {origin.format!r}", f"known: {', '.join(FORMATS)}")
    if origin.format == "diffusers":
        return _open_diffusers(origin.path)
    kind = require_format(origin.path, origin.format)
    if kind == "safetensors":
        return _open_safetensors(origin.path)
    if kind == "pickle":
        refuse_bare_pickle(origin.path)
    return _state(load_pickle(origin.path, origin.safe_globals, origin.file_id), origin)


def files_of(origin: Origin) -> list[Path]:
    """The files that an origin is made of."""
    if origin.format != "diffusers":
        return [origin.path]
    paths = (_diffusers_file(origin.path, part) for part in DIFFUSERS_PARTS)
    return [file for file in paths if file is not None]


def _open_safetensors(path: Path) -> LazyTensors:
    """Each tensor a view of the mapped file."""
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{shown(path)} is damaged: not a whole safetensors file ({error})", AGAIN
        ) from error
    return LazyTensors({name: partial(file.get_tensor, name) for name in file.keys()})  # noqa: SIM118


def _state(payload: Any, origin: Origin) -> LazyTensors:
    """The tensors, mapped by torch, in what a pickle holds; what lies beside their dictionary
    (optimiser, callbacks) is left where it is."""
    state = payload
    if isinstance(payload, dict) and isinstance(payload.get("state_dict"), dict):
        state = payload["state_dict"]
    items = {str(name): value for name, value in state.items()} if isinstance(state, dict) else {}
    readers = {name: value.detach for name, value in items.items() if isinstance(value, Tensor)}
    if not readers:
        raise WeightsError(f"{shown(origin.path)} holds no weights under names")
    return LazyTensors(readers, tuple(name for name in items if name not in readers))


def _diffusers_file(folder: Path, part: str) -> Path | None:
    names = (f"{DIFFUSERS_PARTS[part]}{suffix}" for suffix in _SUFFIXES)
    return next((folder / part / name for name in names if (folder / part / name).is_file()), None)


def _open_diffusers(folder: Path) -> LazyTensors:
    readers: dict[str, Callable[[], Tensor]] = {}
    for part in DIFFUSERS_PARTS:
        if (file := _diffusers_file(folder, part)) is not None:
            tensors = open_checkpoint(Origin(file, "safetensors"))
            readers |= {f"{part}.{name}": partial(tensors.__getitem__, name) for name in tensors}
    if not readers:
        raise WeightsError(
            f"{shown(folder)} is not a model in diffusers' format: no safetensors file in "
            f"{', '.join(f'{part}/' for part in DIFFUSERS_PARTS)}"
        )
    return LazyTensors(readers)
