"""How published figures were taken, by name, so that others can be held beside them.

What the papers leave open is decided here and said: PSNR and SSIM on luma without a border, LPIPS
with AlexNet, DISTS at full resolution, MUSIQ trained on KonIQ-10k, CLIP-Score as the cosine of the
embeddings of result and true picture by CLIP ViT-L/14 of OpenAI, FID of all results against all
true pictures (its value falls with the number of pictures, which belongs beside it).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

FID_PICTURES = 1000
"""With fewer, FID says more about their number than about their quality."""


@dataclass(frozen=True)
class Protocol:
    """One published way to measure; sides in pixels of the true picture."""

    name: str
    title: str
    pictures: int
    side: int = 512
    scale: int = 4
    metrics: str = "paper,psnr_y,ssim_y"

    def notes(self, count: int) -> tuple[str, ...]:
        if count == self.pictures:
            return ()
        return (
            f"{self.title} has {self.pictures} pictures, these are {count}: published"
            " figures are of other pictures",
        )


PROTOCOLS = {
    each.name: each
    for each in (
        Protocol("imagenet-test2000", "ImageNet-Test2000", 2000),
        Protocol("realsr", "RealSR", 100),
        Protocol("drealsr", "DRealSR", 93),
    )
}


def centre_crop(pixels: Tensor, side: int, step: int = 1) -> Tensor:
    """The middle `(…, side, side)` of `(…, H, W)`, at multiples of `step` from the corner;
    pictures that are smaller stay as they are along that side.
    """
    height, width = pixels.shape[-2:]
    top, left = (max(0, (each - side) // 2) // step * step for each in (height, width))
    return pixels[..., top : top + side, left : left + side]
