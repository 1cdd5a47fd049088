"""What stages use but do not train: the networks before the diffusion, and the text side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coser_cli.engine.preparation import enlarge_smoothly
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.clip import ClipText, token_lengths
from coser_cli.models.srresnet import SRResNet
from coser_cli.models.text import SentenceText
from coser_cli.size import Size
from coser_cli.training.examples import Batch

Texts = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
"""Captions → text states `(B, L, C)`, and lengths `(B,)` up to and with the end token."""


class TowerTexts:
    """By CLIP's text tower."""

    def __init__(self, tower: ClipText) -> None:
        self.tower = tower

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = self.tower.tokenize(captions)
        return self.tower.encode_tokens(tokens).float(), token_lengths(tokens)


class SentenceTexts:
    """By the sentence encoder, on the CPU; each caption once."""

    def __init__(self, text: SentenceText, device: torch.device) -> None:
        self.text, self.device = text, device
        self.known: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        new = sorted(set(captions) - self.known.keys())
        if new:
            states, lengths = self.text.encode_with_lengths(new)
            self.known |= dict(zip(new, zip(states, lengths, strict=True), strict=True))
        pairs = [self.known[caption] for caption in captions]
        states, lengths = (torch.stack(each) for each in zip(*pairs, strict=True))
        return states.to(self.device), lengths.to(self.device)


@dataclass(frozen=True)
class Understanding:
    """The frozen way from LR pixels to what the denoiser sees of them."""

    srresnet: SRResNet
    encoder: nn.Module | None
    texts: Texts
    vae: Autoencoder | None
    low_res_source: str
    latents_of: str = "enlargement"

    @torch.no_grad()
    def picture(self, low: Tensor, restored: Tensor) -> Tensor:
        """The enlarged LR picture `(B, 3, H, W)` in [0, 1] that latents are made of."""
        if self.latents_of == "bicubic":
            return enlarge_smoothly(low, Size.of(low).scaled(4))
        if self.low_res_source == "srresnet":
            return restored.clamp(0, 1)
        return F.interpolate(low, scale_factor=4.0, mode="bicubic").clamp(0, 1)

    @torch.no_grad()
    def context(self, prompts: Sequence[str], restored: Tensor) -> Tensor:
        """[prompt ‖ E] `(B, L + T_e, C)`, or the prompt alone where there is no encoder."""
        text = self.texts(prompts)[0]
        if self.encoder is None:
            return text
        return torch.cat((text, self.encoder(restored).float()), dim=1)

    @torch.no_grad()
    def latents(self, pixels: Tensor) -> Tensor:
        """Latents of pixels `(B, 3, H, W)` in [0, 1], by the frozen autoencoder."""
        assert self.vae is not None
        return self.vae.encode(pixels).float()


@torch.no_grad()
def encode_all(understanding: Understanding, batch: Batch) -> tuple[Tensor, Tensor]:
    """The enlarged LR picture of a batch, and its context."""
    restored = understanding.srresnet(batch["low"])
    picture = understanding.picture(batch["low"], restored)
    return picture, understanding.context(batch["prompt"], restored)
