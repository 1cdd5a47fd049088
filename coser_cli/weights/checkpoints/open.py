"""Checkpoint files as they are published, opened safely and lazily: tensors are mapped, not read.

What a file is, its first bytes decide, not its name: a web page, a Git LFS pointer or half a file
each have their own message before any reader sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from coser_cli.errors import WeightsError, shown
from coser_cli.weights.checkpoints.pickles import load_pickle, refuse_bare_pickle
from coser_cli.weights.file_kinds import AGAIN, sniff
from coser_cli.weights.safetensors_writer import write_safetensors

PICKLES = ("lightning-ckpt", "torch-bin")
FORMATS = ("safetensors", *PICKLES, "diffusers")
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

    `format`: one of `FORMATS`. `safe_globals`: whole dotted names that a pickle may hold beside
    tensors. `key`: where in it the tensors are (None: under "state_dict" if there is one).
    `sha256` where it is known; it goes into the lock file, else the file is hashed for it.
    """

    path: Path
    format: str
    safe_globals: tuple[str, ...] = ()
    key: str | None = None
    sha256: str | None = None


class _SafetensorsFile(Mapping[str, Tensor]):
    """Tensors of a safetensors file, each a view of the mapped file."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{shown(path)} is damaged: not a whole safetensors file ({error})", AGAIN
            ) from error
        self._names = dict.fromkeys(self._file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Joined(Mapping[str, Tensor]):
    """Several mappings as one, each name with its mapping's before it and a dot between."""

    def __init__(self, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Tensor:
        part, _, rest = name.partition(".")
        return self._parts[part][rest]

    def __iter__(self) -> Iterator[str]:
        return (f"{part}.{name}" for part, names in self._parts.items() for name in names)

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))


def open_checkpoint(origin: Origin) -> Mapping[str, Tensor]:
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
    kind = sniff(origin.path)
    if kind == "safetensors":
        return _SafetensorsFile(origin.path)
    if origin.format == "safetensors":
        raise WeightsError(
            f"{shown(origin.path)} is not a safetensors file but a pickle, which could run code",
            "get the safetensors file",
        )
    if kind == "pickle":
        refuse_bare_pickle(origin.path, origin.safe_globals)
    return _state(load_pickle(origin.path, origin.safe_globals), origin)


def convert_file(origin: Origin, target: Path) -> None:
    """Write a checkpoint as one safetensors file, names and numbers as they are.

    One tensor at a time, beside the target and renamed. Raises WeightsError as `open_checkpoint`,
    and where the file cannot be written.
    """
    tensors = open_checkpoint(origin)
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        write_safetensors(part, tensors)
        part.replace(target)
    except OSError as error:
        raise WeightsError(
            f"cannot write {shown(target)}: {(error.strerror or str(error)).lower()}",
            "free some space, or name another folder",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def files_of(origin: Origin) -> list[Path]:
    """The files that an origin is made of."""
    if origin.format != "diffusers":
        return [origin.path]
    found = (_diffusers_file(origin.path, part) for part in DIFFUSERS_PARTS)
    return [file for file in found if file is not None]


def _state(payload: Any, origin: Origin) -> Mapping[str, Tensor]:
    """The tensors in what a pickle holds; everything beside them (optimiser, callbacks) is left."""
    state = payload
    for key in (origin.key, "state_dict"):
        if key is not None and isinstance(payload, dict) and isinstance(payload.get(key), dict):
            state = payload[key]
            break
    if not isinstance(state, dict) or not state:
        raise WeightsError(f"{shown(origin.path)} holds no weights under names")
    odd = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(f"{shown(origin.path)} holds more than weights: {', '.join(odd[:8])}")
    return {str(name): tensor.detach() for name, tensor in state.items()}


def _diffusers_file(folder: Path, part: str) -> Path | None:
    names = (f"{DIFFUSERS_PARTS[part]}{suffix}" for suffix in _SUFFIXES)
    return next((folder / part / name for name in names if (folder / part / name).is_file()), None)


def _open_diffusers(folder: Path) -> Mapping[str, Tensor]:
    files = {part: _diffusers_file(folder, part) for part in DIFFUSERS_PARTS}
    found = {
        part: open_checkpoint(Origin(file, "safetensors"))
        for part, file in files.items()
        if file is not None
    }
    if not found:
        raise WeightsError(
            f"{shown(folder)} is not a model in diffusers' format: no safetensors file in "
            f"{', '.join(f'{part}/' for part in DIFFUSERS_PARTS)}"
        )
    return _Joined(found)
