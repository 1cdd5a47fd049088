"""Metrics of other packages, called with pictures `(1, 3, H, W)` in [0, 1]; networks once each.

Packages are imported when first needed: they are optional.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from coser_cli.errors import InputError
from coser_cli.evaluation.color import levels, luma

PYIQA_LICENSE = "PolyForm-Noncommercial-1.0.0"
CLIP_MODEL, CLIP_WEIGHTS = "ViT-L-14", "openai"


def psnr_y(output: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio of the luma in dB; higher is better, infinite for equal ones."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(luma(output), luma(target), data_range=1.0))


def ssim_y(output: Tensor, target: Tensor) -> float:
    """Structural similarity of the luma (Wang et al. 2004); 1 is equal."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(luma(output), luma(target), data_range=1.0)
    return float(value)  # type: ignore[arg-type]


@torch.inference_mode()
def st_lpips(output: Tensor, target: Tensor, trunk: str = "alex") -> float:
    """Shift-tolerant LPIPS (Ghildyal & Liu 2022), AlexNet or VGG trunk; 0 is equal."""
    return float(st_lpips_net(trunk)(output.float() * 2 - 1, target.float() * 2 - 1))


@torch.inference_mode()
def lpips(output: Tensor, target: Tensor) -> float:
    """LPIPS version 0.1, AlexNet (Zhang et al. 2018); 0 is equal."""
    return _once(lpips_net(), output, target)


@torch.inference_mode()
def dists(output: Tensor, target: Tensor) -> float:
    """DISTS (Ding et al. 2020) at full resolution; 0 is equal."""
    return _once(dists_net(), output, target)


@torch.inference_mode()
def clip_score(output: Tensor, target: Tensor) -> float:
    """Cosine of two pictures' CLIP embeddings, which the paper calls CLIP-Score; 1 is equal."""
    model, preprocess = clip()
    return clip_cosine(model, preprocess, output, target)


def clip_cosine(model: Any, preprocess: Callable[..., Tensor], *pictures: Tensor) -> float:
    """Of two pictures, by a model of open_clip and its own preparation of PIL pictures."""
    from PIL import Image

    batch = torch.stack([preprocess(Image.fromarray(levels(each[0]))) for each in pictures])
    first, second = model.encode_image(batch, normalize=True)
    return float(first @ second)


class FrechetDistance:
    """FID over pairs that are added one by one (torchmetrics, Inception-v3 of torch-fidelity)."""

    def __init__(self, features: int | torch.nn.Module = 2048) -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance

        self._metric = FrechetInceptionDistance(feature=features, normalize=True)
        self.count = 0

    @torch.inference_mode()
    def add(self, output: Tensor, target: Tensor) -> None:
        """A result and its true picture, of any size: both are resized to 299 × 299."""
        self._metric.update(output.float(), real=False)
        self._metric.update(target.float(), real=True)
        self.count += 1

    def value(self) -> float:
        """Of all that was added; lower is better. Raises `InputError` for fewer than two pairs."""
        if self.count < 2:
            raise InputError("FID needs at least two pictures", "leave fid out of --metrics")
        return float(self._metric.compute())


def iqa(name: str) -> Callable[[Tensor, Tensor], float]:
    """A metric of pyiqa that looks at the result alone, by its name there."""

    def measure(output: Tensor, _: Tensor) -> float:
        return float(iqa_net(name)(output.float()))

    return measure


def whole_sets_only(*_: Tensor) -> float:
    """In place of a value per picture, for metrics of whole sets."""
    raise TypeError("a metric of whole sets has no value per picture")


@cache
def st_lpips_net(trunk: str) -> Any:
    """Shift-tolerant LPIPS of a trunk, `alex` or `vgg`."""
    from stlpips_pytorch import stlpips

    return stlpips.LPIPS(net=trunk, variant="shift_tolerant", verbose=False).eval()


def _once(metric: Any, output: Tensor, target: Tensor) -> float:
    """One value of a metric that would keep a mean over its calls."""
    metric.reset()
    return float(metric(output.float(), target.float()))


@cache
def lpips_net() -> Any:
    """LPIPS with its AlexNet."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)


@cache
def dists_net() -> Any:
    """DISTS with its VGG16."""
    from torchmetrics.image.dists import DeepImageStructureAndTextureSimilarity

    return DeepImageStructureAndTextureSimilarity()


@cache
def clip() -> tuple[Any, Any]:
    """CLIP, and its preparation of PIL pictures."""
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(CLIP_MODEL, CLIP_WEIGHTS)
    return model.eval(), preprocess


@cache
def iqa_net(name: str) -> Any:
    """A metric of pyiqa by its name there."""
    # pyiqa prints what it loads to stdout, which belongs to results
    with contextlib.redirect_stdout(io.StringIO()):
        import pyiqa

        return pyiqa.create_metric(name, device=torch.device("cpu"))
