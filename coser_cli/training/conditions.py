"""Pictures of further conditions, made from the true ones: one function per name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.errors import UsageError

LUMA = (0.299, 0.587, 0.114)


def edges(pixels: Tensor) -> Tensor:
    """Sobel magnitude of luma, at most 1 in each picture: grey `(B, 3, H, W)` in [0, 1]."""
    luma = (pixels * pixels.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    slope = luma.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack((slope, slope.T))[:, None]
    gradients = F.conv2d(F.pad(luma, (1, 1, 1, 1), mode="replicate"), kernels)
    size = gradients.square().sum(1, keepdim=True).sqrt()
    return (size / size.amax((2, 3), keepdim=True).clamp_min(1e-3)).expand(-1, 3, -1, -1)


CONDITIONS: dict[str, Callable[[Tensor], Tensor]] = {"edges": edges}


def condition_of(name: str) -> Callable[[Tensor], Tensor]:
    """The function of that name. Raises UsageError if there is none."""
    if name not in CONDITIONS:
        raise UsageError(f"there is no condition {name!r}", f"known: {', '.join(CONDITIONS)}")
    return CONDITIONS[name]
