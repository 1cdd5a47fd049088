"""Checkpoints in the published layouts, made here: Lightning's pickles without Lightning, and any
size without the memory for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

CALLBACK = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
Draw = Callable[[str, tuple[int, ...]], np.ndarray]


@contextmanager
def importable(name: str, base: type = object):
    """Within it a class of that whole name can be imported, hence pickled; yields the class."""
    module, _, attribute = name.rpartition(".")
    cls = type(attribute, (base,), {"__module__": module})
    packages = [module.rsplit(".", n)[0] for n in range(module.count(".") + 1)]
    before = {package: sys.modules.get(package) for package in packages}
    sys.modules.update({package: ModuleType(package) for package in packages})
    setattr(sys.modules[module], attribute, cls)
    try:
        yield cls
    finally:
        for package, old in before.items():
            if old is None:
                del sys.modules[package]
            else:
                sys.modules[package] = old


def lightning_payload(state: Mapping[str, Tensor], callback: type) -> dict[str, Any]:
    """What Lightning 1.4 puts around a state, with an optimiser of two tensors."""
    moments = {"step": 7, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    return {
        "epoch": 3,
        "global_step": 11,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": dict(state),
        "callbacks": {callback: {"monitor": "val/loss", "best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: moments}, "param_groups": [{"lr": 5e-5}]}],
        "lr_schedulers": [],
    }


def save_lightning(path: Path, state: Mapping[str, Tensor]) -> Path:
    """A checkpoint as Lightning 1.4 writes it."""
    with importable(CALLBACK) as callback:
        torch.save(lightning_payload(state, callback), path)
    return path


def write_lightning(path: Path, shapes: Mapping[str, list[int]], draw: Draw) -> Path:
    """The same, of any size: room is left for the tensors, then each is drawn and put into its own.

    torch numbers the records of tensors in the order of the state. `draw` gives float32 values, for
    all but `position_ids`, which count up.
    """
    state = {name: torch.empty(shape, dtype=_dtype(name)) for name, shape in shapes.items()}
    with importable(CALLBACK) as callback, torch.serialization.skip_data():
        torch.save(lightning_payload(state, callback), path)
    del state
    reader = torch._C.PyTorchFileReader(str(path))
    with path.open("r+b") as stream:
        for number, (name, shape) in enumerate(shapes.items()):
            stream.seek(reader.get_record_offset(f"data/{number}"))
            stream.write(values(name, tuple(shape), draw).tobytes())
    return path


def _dtype(name: str) -> torch.dtype:
    return torch.int64 if name.endswith("position_ids") else torch.float32


def values(name: str, shape: tuple[int, ...], draw: Draw) -> np.ndarray:
    """What `write_lightning` writes under a name."""
    if _dtype(name) == torch.int64:
        return np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    return draw(name, shape)


def cheap(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Seeded float32 values that keep a network's numbers finite; a function of the name alone."""
    generator = torch.Generator().manual_seed(int.from_bytes(name.encode()[-6:], "big"))
    drawn = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return (drawn * (np.prod(shape) / shape[0]) ** -0.5).numpy()
    return (1 + 0.1 * drawn if name.endswith("weight") else 0.05 * drawn).numpy()
