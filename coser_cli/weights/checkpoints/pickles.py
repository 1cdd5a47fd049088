"""Pickled checkpoints, read without running anything from them.

torch lists the names in a file before it reads it. A name that torch's weights-only reader does not
know by itself, that is not one of the usual ones beside weights (`USUAL`), and that the caller does
not allow, refuses the file. Every name that is let through stands for an empty class of ours while
the file is read: nothing of the real one runs. torch 2.10 or newer is required (CVE-2026-24747).
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from coser_cli.errors import WeightsError, shown
from coser_cli.weights.file_kinds import AGAIN

LEAST_TORCH = (2, 10)
REFUSED = "nothing from the file was run; get it from its publisher, or as safetensors"

_LIGHTNING = ("pytorch_lightning", "lightning.pytorch")
_CALLBACKS = (
    "early_stopping.EarlyStopping",
    "lr_monitor.LearningRateMonitor",
    "model_checkpoint.ModelCheckpoint",
    "stochastic_weight_avg.StochasticWeightAveraging",
    "timer.Timer",
)
_NUMPY = """core.multiarray.scalar core.multiarray._reconstruct _core.multiarray.scalar
    _core.multiarray._reconstruct dtype ndarray bool_ bool uint8 int32 int64 float16 float32 float64
    dtypes.BoolDType dtypes.UInt8DType dtypes.Int32DType dtypes.Int64DType dtypes.Float16DType
    dtypes.Float32DType dtypes.Float64DType"""
_PYTHON = """argparse.Namespace builtins.bool builtins.dict builtins.float builtins.frozenset
    builtins.int builtins.list builtins.range builtins.slice builtins.str builtins.tuple
    datetime.datetime datetime.timedelta pathlib.Path pathlib.PosixPath pathlib.WindowsPath
    typing.Any types.SimpleNamespace"""
_OMEGACONF = """dictconfig.DictConfig listconfig.ListConfig base.ContainerMetadata base.Metadata
    nodes.AnyNode nodes.StringNode nodes.IntegerNode nodes.FloatNode nodes.BooleanNode"""
_DICTIONARIES = {
    "collections.defaultdict",
    *(f"{package}.utilities.parsing.AttributeDict" for package in _LIGHTNING),
}
USUAL = frozenset(
    _DICTIONARIES
    | {f"{package}.callbacks.{name}" for package in _LIGHTNING for name in _CALLBACKS}
    | {f"numpy.{name}" for name in _NUMPY.split()}
    | {f"omegaconf.{name}" for name in _OMEGACONF.split()}
    | set(_PYTHON.split())
)
"""What training leaves beside weights: states of callbacks, hyperparameters, numbers of NumPy."""
_BLOCKED = ("sys.", "os.", "posix.", "nt.")
"""Of these modules torch lets nothing through, whatever is allowed."""
_OF_TENSORS = ("torch.", "collections.", "_codecs.")


class _Empty:
    """Stands for a class or function: takes any call and any state, and keeps nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> _Empty:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Ignores everything."""

    def __setstate__(self, _state: Any) -> None:
        """Ignores everything."""


class _Dictionary:
    """Stands for a dictionary of another type; torch fills only its own kinds of dictionary."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def load_pickle(path: Path, allowed: Iterable[str] = (), file_id: str = "") -> Any:
    """What a zipped torch file holds, its tensors mapped from the file, not read.

    `allowed` are whole dotted names that may stand beside `USUAL`; `file_id` is what a manifest
    calls the file. Raises WeightsError where torch is too old, a name is foreign, or the file is
    no checkpoint.
    """
    if torch.__version__ < LEAST_TORCH:  # type: ignore[operator]
        raise WeightsError(
            f"{shown(path)} is a pickle, and torch {torch.__version__} cannot read one safely",
            "install torch 2.10 or newer",
        )
    names = USUAL | set(allowed)
    listed = _names_beside_tensors(path)
    foreign = [name for name in listed if name not in names or name.startswith(_BLOCKED)]
    refuse_foreign(foreign, path, allowed, file_id)
    stand_ins = [
        (type(name, (_Dictionary if name in _DICTIONARIES else _Empty,), {}), name)
        for name in names
    ]
    try:
        with safe_globals(stand_ins):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, KeyError and more
        raise WeightsError(
            f"{shown(path)} cannot be read as a checkpoint: {_first_line(error)}", AGAIN
        ) from error


def _names_beside_tensors(path: Path) -> list[str]:
    """The names that torch's weights-only reader does not know by itself.

    Raises WeightsError for what torch cannot list: it knows the operations of protocol 2 only,
    which `torch.save` writes.
    """
    try:
        return get_unsafe_globals_in_checkpoint(str(path))
    except Exception as error:  # RuntimeError, UnpicklingError, ValueError, EOFError
        with zipfile.ZipFile(path) as archive, suppress(StopIteration, ValueError):
            record = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            refuse_foreign(_names_in(io.BytesIO(archive.read(record))), path)
        raise WeightsError(
            f"{shown(path)} is a zip archive, but not a checkpoint of torch: {_first_line(error)}",
            AGAIN,
        ) from error


def refuse_foreign(
    foreign: Iterable[str], path: Path, allowed: Iterable[str] = (), file_id: str = ""
) -> None:
    """Raise WeightsError that names everything in `foreign`, if there is anything, and says which
    line of a manifest would let it through."""
    names = sorted(set(foreign))
    if not names:
        return
    hint = REFUSED
    if file_id and not any(name.startswith(_BLOCKED) for name in names):
        listed = ", ".join(f'"{name}"' for name in sorted({*allowed, *names}))
        hint += (
            f"; if you trust it, add safe_globals = [{listed}] to [file.{file_id}] in a copy of "
            "weights.toml and give that by --manifest: these names then stand for empty classes, "
            "and still nothing of them runs"
        )
    raise WeightsError(
        f"{shown(path)} is refused: as a pickle it would run {', '.join(map(repr, names))}", hint
    )


def refuse_bare_pickle(path: Path) -> None:
    """Raise WeightsError for a pickle outside a zip archive: foreign names first, else its age.

    Files of torch before 1.6 are several pickles, one after the other; torch cannot map them.
    """
    names: list[str] = []
    with path.open("rb") as stream, suppress(ValueError):
        for _ in range(5):
            names += _names_in(stream)
    refuse_foreign(set(names) - USUAL, path)
    raise WeightsError(
        f"{shown(path)} is a checkpoint in torch's old format (before 1.6), which is not supported:"
        " it cannot be read piece by piece",
        "where you trust it, load it with torch and save it again, or get it as safetensors",
    )


def _names_in(stream: BinaryIO) -> Iterator[str]:
    """What one pickle looks up outside torch, as far as it can be read off; for messages only.

    Raises ValueError where the bytes are no pickle.
    """
    strings: list[str] = ["", ""]
    for opcode, argument, _ in pickletools.genops(stream):
        name = ""
        if opcode.name in ("GLOBAL", "INST"):
            name = str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            name = ".".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)
        if name and not name.startswith(_OF_TENSORS):
            yield name


def _first_line(error: Exception) -> str:
    """What is wrong, without torch's advice to read the file unsafely."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return (text or type(error).__name__).splitlines()[0]
