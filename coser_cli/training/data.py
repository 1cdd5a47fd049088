"""Training photos: a list with captions, and a pool of HR/LR crop pairs made once.

The pool is made of random crops of every photo (often shrunk first, which hides JPEG blocks and
shows more of the scene) and lies on disk as uint8 arrays that are memory-mapped, so that any
number of stages and processes share it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coser_cli.errors import InputError
from coser_cli.training.degradation import DegradationConfig, degrade


@dataclass(frozen=True)
class PoolConfig:
    """`crops` HR crops of `size` pixels a side, `open_share` of them from the folder `open`."""

    crops: int = 12000
    size: int = 192
    seed: int = 0
    open_share: float = 0.6
    degradation: DegradationConfig = field(default_factory=DegradationConfig)


@dataclass(frozen=True)
class TrainPhoto:
    """A file with its caption (or class label)."""

    path: Path
    caption: str


def list_photos(root: Path) -> list[TrainPhoto]:
    """Photos of `root/captions.tsv` (columns `file`, `label_or_caption`).

    Raises:
        InputError: the list is missing, lacks a column, or names no photo or one that is missing.
    """
    table = root / "captions.tsv"
    if not table.is_file():
        raise InputError(f"{table}: no such list; --data needs a folder with captions.tsv")
    with table.open(newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not {"file", "label_or_caption"} <= set(rows.fieldnames or ()):
            raise InputError(f"{table}: the first line must name file and label_or_caption")
        photos = [TrainPhoto(root / row["file"], row["label_or_caption"]) for row in rows]
    missing = [str(photo.path) for photo in photos if not photo.path.is_file()]
    if missing or not photos:
        raise InputError(f"{table}: no such photo: {missing[0]}" if missing else f"{table}: empty")
    return photos


def read_crop(path: Path, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random `(3, size, size)` uint8 crop, the photo shrunk by a random factor first."""
    with Image.open(path) as file:
        image = file.convert("RGB")
        shortest = min(image.size)
        smallest = min(1.0, max(size * 1.05 / shortest, 0.35))
        factor = max(rng.uniform(smallest, 1.0), size / shortest)
        shape = [max(size, round(side * factor)) for side in image.size]
        if shape != list(image.size):
            image = image.resize((shape[0], shape[1]), Image.Resampling.LANCZOS)
        left, top = (int(rng.integers(0, side - size + 1)) for side in image.size)
        crop = np.asarray(image.crop((left, top, left + size, top + size)))
    flipped = crop[:, ::-1] if rng.random() < 0.5 else crop
    return np.ascontiguousarray(flipped.transpose(2, 0, 1))


def _make_pairs(
    job: tuple[list[tuple[int, Path]], PoolConfig, int],
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    photos, config, seed = job
    rng = np.random.default_rng(seed)
    pairs = []
    for index, path in photos:
        high = read_crop(path, config.size, rng)
        low = degrade(torch.from_numpy(high).float() / 255, config.degradation, rng)
        pairs.append((index, high, (low * 255).round().byte().numpy()))
    return pairs


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map` over that many processes of one thread each; the plain one for a single worker."""
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        yield executor.map


class PairPool:
    """`high` `(N, 3, S, S)`, `low` `(N, 3, S/4, S/4)` uint8 and `photo` `(N,)`, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.high = np.load(folder / "high.npy", mmap_mode="r")
        self.low = np.load(folder / "low.npy", mmap_mode="r")
        self.photo = np.load(folder / "photo.npy")

    @classmethod
    def make(cls, root: Path, folder: Path, config: PoolConfig, workers: int = 2) -> PairPool:
        """The pool of `root`'s photos in `folder`; made only if its recipe differs or is absent."""
        recipe = json.dumps(asdict(config) | {"root": str(root.resolve())}, sort_keys=True)
        stamp = folder / "recipe.json"
        if not (stamp.is_file() and stamp.read_text() == recipe):
            folder.mkdir(parents=True, exist_ok=True)
            stamp.unlink(missing_ok=True)  # arrays that are half written have no recipe
            cls._write(list_photos(root), folder, config, workers)
            stamp.write_text(recipe)
        return cls(folder)

    @staticmethod
    def _write(photos: list[TrainPhoto], folder: Path, config: PoolConfig, workers: int) -> None:
        rng = np.random.default_rng(config.seed)
        is_open = np.array(["open" in photo.path.parent.name for photo in photos])
        share = config.open_share if 0 < is_open.sum() < len(photos) else is_open.mean()
        weights = np.where(
            is_open, share / max(is_open.sum(), 1), (1 - share) / max((~is_open).sum(), 1)
        )
        chosen = rng.choice(len(photos), config.crops, p=weights)
        chunks = [chosen[i : i + 100] for i in range(0, len(chosen), 100)]
        jobs = [
            ([(int(i), photos[i].path) for i in chunk], config, config.seed * 100_003 + number)
            for number, chunk in enumerate(chunks)
        ]
        shape = (config.crops, 3, config.size, config.size)
        small = config.size // config.degradation.scale
        high = np.lib.format.open_memmap(folder / "high.npy", "w+", np.uint8, shape)
        low = np.lib.format.open_memmap(
            folder / "low.npy", "w+", np.uint8, (*shape[:2], small, small)
        )
        with _mapping(min(workers, len(jobs))) as run:
            pairs = (pair for part in run(_make_pairs, jobs) for pair in part)
            for row, (_, high_crop, low_crop) in enumerate(pairs):
                high[row], low[row] = high_crop, low_crop
        high.flush()
        low.flush()
        np.save(folder / "photo.npy", chosen)

    def batches(
        self, batch: int, crop: int, seed: int, *, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """Endless random batches `(high, low, rows)` in [0, 1], HR crops of `crop` pixels, flipped
        and turned at random. Batch k depends on (seed, k) only, so a resumed run sees the same."""
        scale = self.high.shape[-1] // self.low.shape[-1]
        cells = crop // scale
        step = start
        while True:
            rng = np.random.default_rng((seed, step))
            rows = rng.integers(0, len(self.high), batch)
            offsets = rng.integers(0, self.low.shape[-1] - cells + 1, (batch, 2))
            turns, flips = rng.integers(0, 4, batch), rng.random(batch) < 0.5
            high = np.empty((batch, 3, crop, crop), np.uint8)
            low = np.empty((batch, 3, cells, cells), np.uint8)
            for i, (row, (top, left)) in enumerate(zip(rows, offsets, strict=True)):
                h = self.high[
                    row, :, top * scale : top * scale + crop, left * scale : left * scale + crop
                ]
                lo = self.low[row, :, top : top + cells, left : left + cells]
                high[i], low[i] = (
                    np.rot90(a[..., ::-1] if flips[i] else a, turns[i], (1, 2)) for a in (h, lo)
                )
            yield torch.from_numpy(high).float() / 255, torch.from_numpy(low).float() / 255, rows
            step += 1
