"""Teachers: networks whose pictures a small model learns to make."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from coser_cli.models import realesrgan

Teacher = Callable[[Tensor], Tensor]
"""LR pixels `(1, 3, H, W)` in [0, 1] → `(1, 3, 4H, 4W)` in [0, 1], on the CPU."""
REALESRGAN, NONE = "realesrgan-x4plus", "none"


def open_teacher(name: str, device: torch.device) -> Teacher | None:
    """Real-ESRGAN under its name, or a model of this program's by name or folder; None for "none".

    Raises:
        UsageError: its package is not installed.
        WeightsError: there is no such model.
    """
    if name == NONE:
        return None
    return _realesrgan(device) if name == REALESRGAN else _model(name, device)


def _realesrgan(device: torch.device) -> Teacher:
    network = deepcopy(realesrgan.load()).to(device, torch.bfloat16)
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
