"""Activations that are computed again on the way back, instead of being kept."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from coser_cli.models.cognitive_encoder import QFormerLayer
from coser_cli.models.resnet import ResnetBlock
from coser_cli.models.transformer import SpatialTransformer

BLOCKS = (ResnetBlock, SpatialTransformer, QFormerLayer)


def checkpoint_blocks(network: nn.Module) -> None:
    """Keep only what enters the blocks of a network; names of its parameters stay."""
    for module in network.modules():
        if isinstance(module, BLOCKS):
            again = partial(checkpoint, module.forward, use_reentrant=False)
            module.forward = again  # type: ignore[method-assign]
