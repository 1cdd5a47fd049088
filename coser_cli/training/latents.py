"""Latents and text states of the pair pool, computed once and memory-mapped.

The diffusion stages see frozen networks' outputs only, so these are kept on disk: latents of the
HR crops, latents of the enlarged LR crops, and the token states of every photo's caption.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.cognitive_encoder import select_text_tokens
from coser_cli.models.srresnet import SRResNet
from coser_cli.models.text import SentenceText
from coser_cli.training.data import PairPool, TrainPhoto


@torch.inference_mode()
def write_latents(
    pool: PairPool, autoencoder: Autoencoder, srresnet: SRResNet, folder: Path, rows: int
) -> None:
    """`high.npy` and `low.npy`: `(rows, 4, S/f, S/f)` float16 latents of the pool's first rows.

    Written beside and renamed, `low.npy` last: where it is, both are whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    autoencoder, srresnet = autoencoder.eval(), srresnet.eval()
    device = next(autoencoder.parameters()).device
    written: dict[str, np.memmap] = {}
    for start in tqdm(range(0, rows, 16), desc="latents", mininterval=5):
        chunk = slice(start, min(start + 16, rows))
        high = torch.from_numpy(np.array(pool.high[chunk])).float() / 255
        low = torch.from_numpy(np.array(pool.low[chunk])).float() / 255
        with torch.autocast(device.type, torch.bfloat16):
            found = {"high": autoencoder.encode(high.to(device))}
            found["low"] = autoencoder.encode(srresnet(low.to(device)).clamp(0, 1))
        for name, latents in found.items():
            if name not in written:
                shape = (rows, *latents.shape[1:])
                path = folder / f"{name}.npy.part"
                written[name] = np.lib.format.open_memmap(path, "w+", np.float16, shape)
            written[name][chunk] = latents.float().cpu().numpy()
    for name in ("high", "low"):
        written[name].flush()
        (folder / f"{name}.npy.part").replace(folder / f"{name}.npy")


class LatentPool:
    """`high`, `low` latents `(N, 4, h, w)` and the photo index of each row."""

    def __init__(self, folder: Path, pool: PairPool) -> None:
        self.high = np.load(folder / "high.npy", mmap_mode="r")
        self.low = np.load(folder / "low.npy", mmap_mode="r")
        self.photo = pool.photo[: len(self.high)]
        order = np.argsort(self.photo, kind="stable")
        same = self.photo[order] == np.roll(self.photo[order], -1)
        self.sibling = np.empty_like(order)
        first = np.searchsorted(self.photo[order], self.photo[order])
        self.sibling[order] = np.where(same, np.roll(order, -1), order[first])

    def batch(
        self, size: int, crop: int, seed: int, step: int
    ) -> tuple[Tensor, Tensor, np.ndarray]:
        """Batch `step` of the sequence `seed`: HR and LR latents, and their rows."""
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(0, len(self.high), size)
        places = rng.integers(0, self.high.shape[-1] - crop + 1, (size, 2))
        return _crops(self.high, rows, places, crop), _crops(self.low, rows, places, crop), rows

    def siblings(self, rows: np.ndarray, crop: int, step: int) -> Tensor:
        """HR latents of another crop of each row's photo (of the row itself if it is the only)."""
        rng = np.random.default_rng(step)
        places = rng.integers(0, self.high.shape[-1] - crop + 1, (len(rows), 2))
        return _crops(self.high, self.sibling[rows], places, crop)


def _crops(array: np.ndarray, rows: np.ndarray, places: np.ndarray, crop: int) -> Tensor:
    found = [
        array[row, :, top : top + crop, left : left + crop]
        for row, (top, left) in zip(rows, places, strict=True)
    ]
    return torch.from_numpy(np.stack(found)).float()


class Captions(NamedTuple):
    """Token states of every caption `text` `(P, L, C)`, L' `selected` `(P, T_e, C)`, and the empty
    prompt's `empty` `(1, L, C)`."""

    text: Tensor
    selected: Tensor
    empty: Tensor


def caption_states(photos: list[TrainPhoto], text: SentenceText, num_queries: int) -> Captions:
    """States of the photos' captions, in their order."""
    states, lengths = text.encode_with_lengths([as_sentence(photo.caption) for photo in photos])
    return Captions(states, select_text_tokens(states, lengths, num_queries), text.encode([""]))


def as_sentence(caption: str) -> str:
    """A caption as it is; a bare class name as "a photo of ..." (paper, sec. 4.1)."""
    words = caption.strip()
    return words if len(words.split()) > 3 else f"a photo of {words}"


@torch.inference_mode()
def embeddings(pool: PairPool, encoder: nn.Module, srresnet: nn.Module, rows: int) -> Tensor:
    """E `(rows, T_e, C)` of the pool's first LR crops."""
    found, device = [], next(encoder.parameters()).device
    for start in range(0, rows, 16):
        low = torch.from_numpy(np.array(pool.low[start : min(start + 16, rows)])).float() / 255
        with torch.autocast(device.type, torch.bfloat16):
            found.append(encoder(srresnet(low.to(device))).float())
    return torch.cat(found).clone()
