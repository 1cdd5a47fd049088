"""Models on disk: one folder per model, one sub-folder per part, in diffusers' layout.

`model.json` holds the whole configuration and is what networks are built from; beside each part's
`diffusion_pytorch_model.safetensors` lies its own `config.json`, as users of diffusers expect.
torch is imported only where tensors are read or written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from coser_cli.config import ClipTextConfig, ModelConfig, SentenceTextConfig
from coser_cli.errors import WeightsError, shown
from coser_cli.paths import bundled_weights_dir, weights_dir
from coser_cli.size import PartSize

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
CONFIG_FILE = "config.json"
MODEL_FILE = "model.json"
PREFERRED, BUNDLED = "sd21", "mini"
READ_AT_ONCE = 32 * 2**20
"""Bytes that are converted before their pages are given up."""
Config = TypeVar("Config")


def available_models() -> list[str]:
    """Names of the bundled and installed models, sorted."""
    roots = (bundled_weights_dir(), weights_dir())
    return sorted({file.parent.name for root in roots for file in root.glob(f"*/{MODEL_FILE}")})


def resolve_model(name: str) -> str:
    """The model that "auto" stands for: `sd21` where it is installed, else `mini`."""
    if name != "auto":
        return name
    return PREFERRED if PREFERRED in available_models() else BUNDLED


def model_folder(model: str | Path) -> Path:
    """Folder of a model by name ("auto" included) or by path.

    An installed model goes before a bundled one of its name. Raises WeightsError if there is none.
    """
    if isinstance(model, str):
        model = resolve_model(model)
    folders = (weights_dir() / model, bundled_weights_dir() / model, Path(model))
    for folder in folders:
        if (folder / MODEL_FILE).is_file():
            return folder
    if command := install_command(str(model)):
        raise WeightsError(
            f"the model {model!r} is not installed in {shown(weights_dir())}",
            f"to install it: {command}",
        )
    tried = ", ".join(shown(folder) for folder in dict.fromkeys(folders))
    known = ", ".join(available_models()) or "none"
    raise WeightsError(
        f"there is no model {str(model)!r}: no {MODEL_FILE} in {tried}",
        f"installed: {known}; name one of these or the folder of a model, or install one: "
        "coser download-weights",
    )


def install_command(name: str) -> str:
    """The command that installs the model of that name; empty if the manifest does not have it."""
    from coser_cli.weights.manifest import load_manifest

    sets = load_manifest().sets.values()
    set_name = next((each.name for each in sets if each.variant == name), None)
    return "" if set_name is None else f"coser download-weights {set_name}".removesuffix(" default")


def repair_hint(folder: Path) -> str:
    """A hint for a model's folder that is not complete."""
    if folder.parent == bundled_weights_dir():
        return "install the package again: pip install --force-reinstall coser-cli"
    command = install_command(folder.name) if folder.parent == weights_dir() else ""
    if command:
        return f"delete {shown(folder)}, then: {command}"
    return f"copy or make the folder {shown(folder)} again"


def read_model_config(folder: Path) -> ModelConfig:
    """The `model.json` of a folder. Raises WeightsError if it cannot be understood."""
    file = folder / MODEL_FILE
    try:
        return config_from_dict(ModelConfig, json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"{shown(file)}: not the description of a model ({error})", repair_hint(folder)
        ) from error


def save_model_config(config: ModelConfig, folder: Path) -> None:
    """Write `model.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MODEL_FILE, asdict(config))


def config_from_dict(cls: type[Config], data: Mapping[str, Any]) -> Config:
    """A configuration from JSON: lists become tuples, dictionaries the field's own dataclass.

    Raises TypeError for a field that the dataclass does not have, and ValueError for a value that
    is none of a `Literal`'s.
    """
    hints = _hints(cls)  # type: ignore[arg-type]
    unknown = data.keys() - {field.name for field in fields(cls)}  # type: ignore[arg-type]
    if unknown:
        raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    for name, value in data.items():
        choices = get_args(hints[name])
        if get_origin(hints[name]) is Literal and value not in choices:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}"
            )
    return cls(**{name: _value(hints[name], value) for name, value in data.items()})


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    if hint == ClipTextConfig | SentenceTextConfig:
        hint = SentenceTextConfig if "encoder" in value else ClipTextConfig
    for kind in (hint, *get_args(hint)):  # a dataclass, or one that may be missing
        if isinstance(kind, type) and is_dataclass(kind):
            return config_from_dict(kind, value)
    return value


def has_part(folder: Path, part: str) -> bool:
    """Whether the model has weights for this part."""
    return (folder / part / WEIGHTS_FILE).is_file()


def read_part(folder: Path, part: str) -> dict[str, Tensor]:
    """Tensors of one part by name, mapped from its file: memory fills as they are looked at.

    Raises WeightsError if the file is missing or damaged.
    """
    with _opened(folder, part) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def read_tensors(folder: Path, part: str, names: Iterable[str]) -> dict[str, Tensor]:
    """Some tensors of one part, mapped; their pages are given up with the last of them."""
    with _opened(folder, part) as file:
        return {name: file.get_tensor(name) for name in names}


def convert_part(folder: Path, part: str, convert: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Tensors of one part, each passed through `convert`.

    What `convert` returns as it is stays mapped, without memory of its own. Of what it copies, the
    pages read are given up at once, so that no two copies of the part are ever in memory.
    """
    state = read_part(folder, part)
    names, size = [], 0
    for name, tensor in list(state.items()):
        names.append(name)
        size += tensor.nbytes
        if size >= READ_AT_ONCE:
            _convert_some(folder, part, state, names, convert)
            names, size = [], 0
    _convert_some(folder, part, state, names, convert)
    return state


def _convert_some(
    folder: Path,
    part: str,
    state: dict[str, Tensor],
    names: Sequence[str],
    convert: Callable[[Tensor], Tensor],
) -> None:
    """Replace what `convert` changes. It is given tensors of a mapping that ends here: the pages of
    a mapping stay with the process for as long as one of its tensors lives."""
    for name, tensor in read_tensors(folder, part, names).items():
        converted = convert(tensor)
        if converted is not tensor:
            state[name] = converted


def part_size(folder: Path, part: str, itemsize: int) -> PartSize:
    """Sizes of a part whose numbers are kept in `itemsize` bytes each; only its header is read."""
    with _opened(folder, part) as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    sizes = [prod(shape) * itemsize for shape in shapes]
    return PartSize(sum(sizes), max(sizes, default=0))


@contextmanager
def _opened(folder: Path, part: str) -> Iterator[Any]:
    """The file of a part, mapped. Raises WeightsError if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    file = folder / part / WEIGHTS_FILE
    try:
        with safe_open(file, "pt") as opened:
            yield opened
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{shown(file)}: the weights are missing or damaged ({error})", repair_hint(folder)
        ) from error


def read_part_config(folder: Path, part: str) -> dict[str, Any]:
    """The `config.json` of one part."""
    file = folder / part / CONFIG_FILE
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{shown(file)}: cannot be read ({error})", repair_hint(folder)
        ) from error
    return config


def save_part(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, dtype: torch.dtype
) -> None:
    """Write a part's tensors, floating ones as `dtype`, and its `config.json` into `folder`.

    Written beside and renamed: a reader never sees half a file.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    converted = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in tensors.items()
    }
    part = folder / f"{WEIGHTS_FILE}.part"
    save_file(converted, part, metadata={"format": "pt"})
    part.replace(folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, config)


def write_json(file: Path, data: Mapping[str, Any]) -> None:
    """Write beside and rename, so that a reader never sees half a file."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    part.replace(file)
