"""Luma, on which most figures about super-resolution are taken."""

from __future__ import annotations

import torch
from torch import Tensor


def luma(pixels: Tensor) -> Tensor:
    """`(B, 3, H, W)` RGB in [0, 1] → `(B, 1, H, W)` float64 BT.601 luma in [16, 235] / 255."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    return torch.einsum("bchw,c->bhw", pixels.double(), weights)[:, None] + 16 / 255
