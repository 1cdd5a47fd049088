"""The blocks that networks here take from diffusers, imported from its narrowest modules."""

from __future__ import annotations

# Must come before anything of diffusers.
from coser_cli import lean_diffusers  # noqa: F401

# isort: split
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D

__all__ = [
    "Downsample2D",
    "FeedForward",
    "ResnetBlock2D",
    "TimestepEmbedding",
    "Timesteps",
    "Upsample2D",
]
