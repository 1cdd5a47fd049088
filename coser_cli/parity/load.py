"""Golden numbers on disk: pairs of NAME.safetensors and NAME.json, and the verdict on one output.

Tensors are named `weights/*` (published names), `inputs/*` and `outputs/*`; the sidecar holds the
exact config. Weights may be float8: every float comes out as float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from coser_cli.errors import UsageError

MODULE_BAR = 1e-5
RUN_BAR = 1e-4
PICTURE_BAR = 1e-3
NARROW = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """One stored output, compared. `golden` is the item, `output` its tensor without `outputs/`.

    For pictures `error` is the share of bytes that differ and `worst` the largest step in levels.
    """

    golden: str
    output: str
    worst: float
    error: float
    passed: bool

    @property
    def name(self) -> str:
        """`item/output`, as printed."""
        return f"{self.golden}/{self.output}"


def compare(
    golden: str, output: str, actual: Tensor, expected: Tensor, bar: float = MODULE_BAR
) -> Case:
    """Relative L2 error of `actual` against `expected`; a wrong shape or a NaN fails."""
    if actual.shape != expected.shape:
        return failed(golden, output)
    difference = actual.double() - expected.double()
    worst = difference.abs().max().item()
    error = (difference.norm() / expected.double().norm().clamp_min(1e-12)).item()
    return Case(golden, output, worst, error, error <= bar)


def compare_picture(golden: str, output: str, actual: Tensor, expected: Tensor) -> Case:
    """uint8 pictures: at most one level of difference, in at most 0.1 % of the bytes."""
    if actual.shape != expected.shape:
        return failed(golden, output)
    difference = (actual.int() - expected.int()).abs()
    worst, share = float(difference.max().item()), (difference > 0).double().mean().item()
    return Case(golden, output, worst, share, worst <= 1 and share <= PICTURE_BAR)


def compare_outputs(
    golden: GoldenSet, name: str, results: Mapping[str, Tensor], bar: float
) -> Iterator[Case]:
    """A case for every stored output of the item `name` that is among the results."""
    for output, expected in golden.outputs(name).items():
        if output not in results:
            continue
        if expected.dtype == torch.uint8:
            yield compare_picture(name, output, results[output], expected)
        else:
            yield compare(name, output, results[output], expected, bar)


def failed(golden: str, output: str) -> Case:
    """A case that could not be computed at all."""
    return Case(golden, output, float("inf"), float("inf"), False)


@dataclass(frozen=True)
class GoldenSet:
    """A directory of golden items that belong together (one seed, one set of weights)."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError(
                f"{self.folder}: no golden numbers here",
                "name a folder with pairs of NAME.safetensors and NAME.json",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """All items, sorted."""
        return tuple(sorted(file.stem for file in self.folder.glob("*.safetensors")))

    def sidecar(self, name: str) -> dict[str, Any]:
        """The whole NAME.json."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def config(self, name: str) -> dict[str, Any]:
        """The `config` entry of NAME.json (published field names)."""
        return self.sidecar(name)["config"]

    def tensors(self, name: str, prefix: str) -> dict[str, Tensor]:
        """Tensors `prefix/*` of one item without the prefix; floats as float32."""
        with safe_open(self.folder / f"{name}.safetensors", framework="pt") as file:
            keys = [key for key in file.keys() if key.startswith(f"{prefix}/")]  # noqa: SIM118
            return {key.removeprefix(f"{prefix}/"): _widen(file.get_tensor(key)) for key in keys}

    def inputs(self, name: str) -> dict[str, Tensor]:
        """`inputs/*` of one item."""
        return self.tensors(name, "inputs")

    def outputs(self, name: str) -> dict[str, Tensor]:
        """`outputs/*` of one item."""
        return self.tensors(name, "outputs")

    def weights(self, *names: str) -> dict[str, Tensor]:
        """Union of the published weights of several items."""
        return {k: v for name in names for k, v in self.tensors(name, "weights").items()}


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in NARROW else tensor


def uncovered(golden: GoldenSet, cases: Iterable[Case]) -> list[Case]:
    """A failed case for every stored output that no code compared."""
    compared = {(case.golden, case.output) for case in cases}
    stored = [(name, output) for name in golden.names for output in golden.outputs(name)]
    return [failed(*pair) for pair in stored if pair not in compared]
