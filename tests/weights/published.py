"""Checkpoints in the published layouts, made here: Lightning's pickles without Lightning, and any
size without the memory for it.
"""

from __future__ import annotations

import argparse
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
Payload = Callable[[Mapping[str, Tensor], type], dict[str, Any]]


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


def lightning_payload(state: Mapping[str, Any], callback: type) -> dict[str, Any]:
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


def save_lightning(path: Path, state: Mapping[str, Any]) -> Path:
    """A checkpoint as Lightning 1.4 writes it."""
    with importable(CALLBACK) as callback:
        torch.save(lightning_payload(state, callback), path)
    return path


ODD_NAME = "epoch=000012-step=000019999.ckpt"
"""As Lightning names its files, and as a browser saves them."""
SURPLUS = {
    "usm_sharpener.kernel": [1, 51, 51],
    "jpeger.dct.matrix": [8, 8],
    "model.diffusion_model.input_blocks.1.0.extra.weight": [2],
}
"""Tensors that the training code keeps in its module, and that no network needs."""
TRAINED = ("structcond_stage_model.", "decoder.fusion_layer_")


def as_saved_by_training(state: Mapping[str, Tensor], callback: type) -> dict[str, Any]:
    """All at once that a file straight from training may hold beside its weights: surplus names,
    an optimiser with two moments of each trained weight, numbers of NumPy, hyperparameters.
    """
    surplus = {name: torch.empty(shape) for name, shape in SURPLUS.items()}
    trained = [t for name, t in state.items() if "_lna" in name or name.startswith(TRAINED)]
    payload = lightning_payload({**state, **surplus}, callback)
    payload["callbacks"][callback] |= {"best_model_score": np.float64(0.5), "kth": np.arange(3)}
    payload["optimizer_states"] = [
        {
            "state": {
                number: {
                    "step": np.int64(7),
                    "exp_avg": torch.empty(tensor.shape),
                    "exp_avg_sq": torch.empty(tensor.shape),
                }
                for number, tensor in enumerate(trained)
            },
            "param_groups": [{"lr": np.float32(5e-5), "params": list(range(len(trained)))}],
        }
    ]
    payload["hyper_parameters"] = argparse.Namespace(lr=5e-5, data=Path("images"))
    return payload


def save_from_training(folder: Path, state: Mapping[str, Tensor], name: str = ODD_NAME) -> Path:
    """A checkpoint that holds all of `as_saved_by_training`, under a name of Lightning's."""
    path = folder / name
    with importable(CALLBACK) as callback:
        torch.save(as_saved_by_training(state, callback), path)
    return path


def write_lightning(
    path: Path, shapes: Mapping[str, list[int]], draw: Draw, payload: Payload = lightning_payload
) -> Path:
    """The same, of any size: room is left for the tensors, then each is drawn and put into its own.

    torch numbers the records of tensors in the order of the state. `draw` gives float32 values, for
    all but `position_ids`, which count up. Tensors that `payload` adds stay empty.
    """
    state = {name: torch.empty(shape, dtype=_dtype(name)) for name, shape in shapes.items()}
    with importable(CALLBACK) as callback, torch.serialization.skip_data():
        torch.save(payload(state, callback), path)
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
