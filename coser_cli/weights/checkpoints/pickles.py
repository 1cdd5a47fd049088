"""Pickled checkpoints, read without running anything from them.

Before torch sees a file its names are listed from the pickle's opcodes, and a name outside two
lists refuses it: what tensors need, and what the caller allows by its exact name. Allowed names
become inert classes of ours. Then torch's weights-only reader maps the file; torch is required to
be 2.10 or newer, which closes CVE-2026-24747.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from coser_cli.errors import WeightsError, shown

Global = tuple[str, str]
"""Module and name, as a pickle gives them."""

LEAST_TORCH = (2, 10)
REFUSED = "nothing from the file was run; get it from its publisher, or as safetensors"
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long", "Bool")
_DTYPES = ("float64", "float32", "float16", "bfloat16", "uint8", "int8", "int16", "int32", "int64")
TENSOR_GLOBALS: frozenset[Global] = frozenset(
    {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.nn.parameter", "Parameter"),
        ("torch.storage", "UntypedStorage"),
        ("torch.storage", "TypedStorage"),
        ("torch", "Tensor"),
        ("torch", "Size"),
        ("torch", "device"),
        ("_codecs", "encode"),
        ("builtins", "set"),
        ("builtins", "bytearray"),
        ("__builtin__", "set"),
        ("__builtin__", "bytearray"),
    }
    | {("torch", f"{kind}Storage") for kind in _STORAGES}
    | {("torch", dtype) for dtype in _DTYPES}
)
"""All within what torch's weights-only reader accepts by itself."""

_STRINGS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "SHORT_BINSTRING"}
_REMEMBER = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}
_BY_CODE = {"EXT1", "EXT2", "EXT4"}


class _Inert:
    """Stands for a class that a file names: takes whatever it is given and keeps none of it."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Ignores everything."""

    def __setstate__(self, _state: Any) -> None:
        """Ignores everything."""


def globals_of(stream: BinaryIO) -> Iterator[Global]:
    """Every name that one pickle would look up, in order, found without unpickling it.

    Names that are put together from strings (protocol 4) are followed as far as strings can be.
    Raises ValueError where the bytes are no pickle.
    """
    strings: list[str] = []
    memo: dict[int, str | None] = {}
    last: str | None = None
    for opcode, given, _ in pickletools.genops(stream):
        kind, argument = opcode.name, str(given)
        if kind in ("GLOBAL", "INST"):
            module, _, name = argument.partition(" ")
            yield module, name
        elif kind == "STACK_GLOBAL":
            yield (strings[-2], strings[-1]) if len(strings) > 1 else ("?", "?")
        elif kind in _BY_CODE:
            yield "copyreg extension", argument
        elif kind in _REMEMBER:
            memo[len(memo) if kind == "MEMOIZE" else int(argument)] = last
            continue
        last = None
        if kind in _STRINGS:
            last = argument
        elif kind in _RECALL:
            last = memo.get(int(argument))
        if last is not None:
            strings = [*strings[-1:], last]


def refuse_foreign(found: Iterable[Global], allowed: Iterable[str], path: Path) -> None:
    """Raise WeightsError that names every global outside `TENSOR_GLOBALS` and `allowed`.

    `allowed` are whole dotted names; a module or a beginning of a name allows nothing.
    """
    known = TENSOR_GLOBALS | {_split(name) for name in allowed}
    foreign = sorted({f"{module}.{name}" for module, name in found if (module, name) not in known})
    if foreign:
        raise WeightsError(
            f"{shown(path)} is refused: as a pickle it would run {', '.join(map(repr, foreign))}",
            REFUSED,
        )


def _split(name: str) -> Global:
    module, _, attribute = name.rpartition(".")
    return module, attribute


def load_pickle(path: Path, allowed: tuple[str, ...]) -> Any:
    """What a zipped torch file holds, its tensors mapped from the file, not read.

    Raises WeightsError where torch is too old, a global is foreign, or the file is no checkpoint.
    """
    if torch.__version__ < LEAST_TORCH:  # type: ignore[operator]
        raise WeightsError(
            f"{shown(path)} is a pickle, and torch {torch.__version__} cannot read one safely",
            "install torch 2.10 or newer",
        )
    refuse_foreign(_zipped_globals(path), allowed, path)
    stubs = [(type(_split(name)[1], (_Inert,), {}), name) for name in allowed]
    try:
        with torch.serialization.safe_globals(stubs):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, KeyError and more
        raise WeightsError(
            f"{shown(path)} cannot be read as a checkpoint: {_first_line(error)}",
            "fetch the file again",
        ) from error


def _zipped_globals(path: Path) -> list[Global]:
    """Globals of the record that torch itself would unpickle."""
    import io

    try:
        record = torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")
        return list(globals_of(io.BytesIO(record)))
    except (RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{shown(path)} is a zip archive, but not a checkpoint of torch: {_first_line(error)}",
            "fetch the file again",
        ) from error


def refuse_bare_pickle(path: Path, allowed: tuple[str, ...]) -> None:
    """Raise WeightsError for a pickle outside a zip archive: foreign names first, else its age.

    Files of torch before 1.6 are several pickles, one after the other; torch cannot map them.
    """
    found: list[Global] = []
    with path.open("rb") as stream, suppress(ValueError):
        for _ in range(5):
            found += globals_of(stream)
    refuse_foreign(found, allowed, path)
    raise WeightsError(
        f"{shown(path)} is a checkpoint in torch's old format (before 1.6), which is not supported:"
        " it cannot be read piece by piece",
        "where you trust it, load it with torch and save it again, or get it as safetensors",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
