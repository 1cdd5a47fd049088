"""A super-resolution network from a file of the user, loaded by `spandrel` and tried."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from coser_cli.errors import UsageError, WeightsError, reading, shown

SUFFIXES = (".safetensors", ".pth", ".ckpt")
"""TorchScript (`.pt`) is code, and is not run."""
SIDE = 16
"""Of the picture that a network is tried with."""
MARGIN = 2.5
"""Memory of a network over that of the layer with the largest input and output (measured on a CPU
with 256² pixels: Real-ESRGAN 1.5, Compact 2.2, SwinIR-S 2.3).
"""


@dataclass(frozen=True)
class Loaded:
    """A network on the CPU, called with pixels `(1, 3, H, W)` in [0, 1], and the bytes that it
    takes per pixel of its input.
    """

    network: Any
    pixel_bytes: int


def load_pre_restorer(path: Path) -> Loaded:
    """The network in a file. Raises `UsageError` where there is no such file, or spandrel is not
    installed, and `WeightsError` where the file holds no network that enlarges RGB pictures.
    """
    with reading(path, UsageError, "check --pre-restorer"), path.open("rb"):
        pass
    network = _network(path)
    if fault := _fault(network):
        raise WeightsError(f"{shown(path)}: {fault}", "give a super-resolution network for RGB")
    return Loaded(network, _try(path, network))


def _network(path: Path) -> Any:
    try:
        import spandrel
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--pre-restorer needs {error.name}, which is not installed",
            "pip install 'coser-cli[spandrel]'",
        ) from None
    if path.suffix.lower() not in SUFFIXES:
        raise WeightsError(
            f"{shown(path)}: not one of {', '.join(SUFFIXES)}", "save it as safetensors"
        )
    try:
        return spandrel.ModelLoader("cpu").load_from_file(path)
    except spandrel.UnsupportedModelError:
        raise WeightsError(
            f"{shown(path)}: spandrel knows no such network", "it must be a whole checkpoint"
        ) from None
    except UnpicklingError as error:
        reason, remedy = " ".join(str(error).split()), "save it as safetensors"
        raise WeightsError(f"{shown(path)}: no harmless checkpoint ({reason})", remedy) from None
    except MemoryError:
        raise
    except Exception as error:  # of a damaged file anything may come
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise WeightsError(
            f"{shown(path)}: cannot be loaded ({reason})", "the file is damaged, or no checkpoint"
        ) from None


def _fault(network: Any) -> str:
    """Why it cannot be used; "" where it can."""
    kind = network.architecture.name
    if network.scale <= 1:
        return f"{kind} of scale {network.scale} does not enlarge"
    if getattr(network, "purpose", "") != "SR":
        return f"{kind} is for {getattr(network, 'purpose', 'something else')}, not for pictures"
    channels = network.input_channels, network.output_channels
    if channels != (3, 3):
        return f"{kind} takes {channels[0]} channels and makes {channels[1]}, not 3 of 3"
    if not all(tensor.isfinite().all() for tensor in network.model.state_dict().values()):
        return "it has weights that are no finite numbers"
    return ""


@torch.inference_mode()
def _try(path: Path, network: Any) -> int:
    """Bytes per pixel of the input that its widest layer takes, times `MARGIN`.

    Raises `WeightsError` where the result is not a picture of the right size.
    """
    pixels = torch.linspace(0, 1, 3 * SIDE**2).reshape(1, 3, SIDE, SIDE)
    widest = 0

    def measure(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal widest
        tensors = (each for each in (*inputs, output) if isinstance(each, Tensor))
        widest = max(widest, sum(each.nbytes for each in tensors))

    leaves = [each for each in network.model.modules() if not list(each.children())]
    with ExitStack() as hooks:
        for layer in leaves:
            hooks.callback(layer.register_forward_hook(measure).remove)
        try:
            result = network(pixels)
        except Exception as error:  # it is anybody's network
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise WeightsError(f"{shown(path)}: the network fails ({reason})") from None
    side = SIDE * network.scale
    if result.shape != (1, 3, side, side) or not result.isfinite().all():
        shape = "×".join(map(str, result.shape[-2:]))
        raise WeightsError(
            f"{shown(path)}: {SIDE}×{SIDE} pixels become {shape} that are no picture"
        )
    right, bottom = network.size_requirements.get_padding(SIDE, SIDE)
    return round(MARGIN * widest / ((SIDE + right) * (SIDE + bottom)))
