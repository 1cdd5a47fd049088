"""Full-reference metrics on pictures `(1, 3, H, W)` in [0, 1], by well-kept packages.

PSNR and SSIM are taken on the luma of BT.601 (16-235 range), without cropping; ST-LPIPS is the
shift-tolerant perceptual distance (Ghildyal & Liu 2022), AlexNet or VGG trunk. Lower ST-LPIPS is
better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn


def luma(pixels: Tensor) -> Tensor:
    """`(B, 3, H, W)` RGB in [0, 1] → `(B, 1, H, W)` BT.601 luma in [16, 235] / 255."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    return torch.einsum("bchw,c->bhw", pixels.double(), weights)[:, None] + 16 / 255


def psnr_y(output: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio of the luma in dB; higher is better."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(luma(output), luma(target), data_range=1.0))


def ssim_y(output: Tensor, target: Tensor) -> float:
    """Structural similarity of the luma (Wang et al. 2004); 1 is equal."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(luma(output), luma(target), data_range=1.0)
    return float(value)  # type: ignore[arg-type]


@cache
def _st_lpips_net(trunk: str) -> nn.Module:
    from stlpips_pytorch import stlpips

    return stlpips.LPIPS(net=trunk, variant="shift_tolerant", verbose=False).eval()


@torch.inference_mode()
def st_lpips(output: Tensor, target: Tensor, trunk: str = "alex") -> float:
    """Shift-tolerant LPIPS; 0 is equal."""
    return float(_st_lpips_net(trunk)(output.float() * 2 - 1, target.float() * 2 - 1))


METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "psnr_y": psnr_y,
    "ssim_y": ssim_y,
    "st_lpips": st_lpips,
    "st_lpips_vgg": lambda output, target: st_lpips(output, target, "vgg"),
}
