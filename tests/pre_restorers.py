"""Small super-resolution networks of spandrel's own architectures, random, in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def compact(scale: int = 2, channels: int = 3) -> dict[str, Any]:
    """The weights of a Compact network that changes what it enlarges visibly."""
    from spandrel.architectures.Compact import Compact  # its import takes two seconds

    torch.manual_seed(scale)
    network = Compact(
        num_in_ch=channels, num_out_ch=channels, num_feat=8, num_conv=2, upscale=scale
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.15)
    return network.state_dict()


def save(path: Path, weights: Any = None) -> Path:
    """Those weights in a file of the kind that its name says."""
    weights = compact() if weights is None else weights
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    return path
