"""Stage "teacher": a pool of crops, degraded, with the teacher's pictures of them.

A teacher is slow, so its pictures are made once. The pool lies in shards; shard k depends on the
recipe and k only and is written beside and renamed: the stage may be stopped, continued, and shared
by several processes. Shards made elsewhere are taken from `.npz` files (`npz`).
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from coser_cli.errors import UsageError, WeightsError
from coser_cli.training.data import Source, as_sentence, cut, read_image
from coser_cli.training.degradation import DegradationConfig, degrade
from coser_cli.training.examples import Batch, drawn, epoch_order
from coser_cli.training.teacher import REALESRGAN, Teacher

FLAT, TRIES = 14.0, 6
"""Crops whose grey levels deviate less are tried again, this often."""
NO_PICTURE = -1
"""The row of a crop whose picture is not known."""


@dataclass(frozen=True)
class PoolConfig:
    """`shards` of `shard` HR crops of `size` pixels a side each; the first `held_out` shards are
    not trained on. `npz`: a folder of shards that were made elsewhere, from the
    recipe's folder."""

    shards: int = 400
    shard: int = 32
    size: int = 384
    seed: int = 0
    held_out: int = 1
    teacher: str = REALESRGAN
    npz: str = ""
    degradation: DegradationConfig = field(default_factory=DegradationConfig)


def write_pool(
    source: Source,
    rows: np.ndarray,
    folder: Path,
    config: PoolConfig,
    teacher: Teacher | None,
    *,
    rank: int = 0,
    world: int = 1,
) -> None:
    """Make the shards that are not there yet: those of this process.

    Raises:
        UsageError: the pool in the folder is of another recipe.
    """
    _require_recipe(folder, config, len(rows))
    for number in _missing(folder, config.shards, rank, world):
        write_shard(folder, number, _arrays(list(_crops(source, rows, config, number)), teacher))


def import_pool(files: Path, folder: Path, config: PoolConfig, rank: int, world: int) -> None:
    """Take the `.npz` files of a folder, in the order of their names, as shards. Each holds
    `config.shard` pictures in uint8: `hr` `(N, 3, S, S)`, `lr` `(N, 3, S/4, S/4)` and, where there
    was a teacher, `te` `(N, 3, S, S)`; other arrays are ignored.

    Raises:
        UsageError: there is no such file, or one that holds something else.
    """
    archives = sorted(files.glob("*.npz"))[: config.shards]
    if not archives:
        raise UsageError(f"{files}: there is no .npz file in it", "see [pool] in docs/training.md")
    _require_recipe(folder, config, len(archives))
    for number in _missing(folder, len(archives), rank, world):
        write_shard(folder, number, _imported(archives[number], config))


def _imported(file: Path, config: PoolConfig) -> dict[str, np.ndarray]:
    small = config.size // config.degradation.scale
    sides = {"hr": config.size, "lr": small, "te": config.size}
    names = {"hr": "high", "lr": "low", "te": "teacher"}
    try:
        with np.load(file) as arrays:
            read = {name: arrays[name] for name in names if name != "te" or name in arrays}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"{file}: not a shard of hr, lr and te ({error})") from error
    for name, array in read.items():
        wanted = (config.shard, 3, sides[name], sides[name])
        if array.dtype != np.uint8 or array.shape != wanted:
            raise UsageError(
                f"{file}: {name} is {array.dtype} {array.shape}, but must be uint8 {wanted}",
                "set size and shard in [pool] to what the files hold",
            )
    unknown = np.full(config.shard, NO_PICTURE)
    return {"row": unknown, **{names[name]: array for name, array in read.items()}}


def _missing(folder: Path, count: int, rank: int, world: int) -> Iterator[int]:
    """Shards of this process that are not there yet, with progress on stderr."""
    numbers = range(rank, count, world)
    missing = [number for number in numbers if not (folder / f"{number:05d}").is_dir()]
    for number in tqdm(missing, desc="teacher", unit="shard", disable=None if rank == 0 else True):
        yield number
        if not sys.stderr.isatty():
            print(f"teacher shard {number + 1} of {count}", file=sys.stderr)  # noqa: T201


def _require_recipe(folder: Path, config: PoolConfig, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.dumps(asdict(config) | {"shards": 0, "pictures": count}, sort_keys=True)
    stamp = folder / "recipe.json"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") != recipe:
        raise UsageError(
            f"{folder}: the pool there was made from other pictures or by another [pool]",
            "take the old recipe, or another --work folder",
        )
    part = stamp.with_name(f"{stamp.name}.part")
    part.write_text(recipe, encoding="utf-8")
    part.replace(stamp)


def _crops(
    source: Source, rows: np.ndarray, config: PoolConfig, number: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Picture number, HR crop and LR crop, uint8."""
    rng = np.random.default_rng((config.seed, number))
    for index in range(number * config.shard, (number + 1) * config.shard):
        epoch, position = divmod(index, len(rows))
        row = int(rows[epoch_order(len(rows), config.seed, epoch)[position]])
        image = read_image(source, row)
        for _ in range(TRIES):
            high = cut(image, config.size, rng)
            if high.std() >= FLAT:
                break
        low = degrade(torch.from_numpy(high).float() / 255, config.degradation, rng)
        yield row, high, (low.clamp(0, 1) * 255).round().byte().numpy()


def _arrays(
    crops: list[tuple[int, np.ndarray, np.ndarray]], teacher: Teacher | None
) -> dict[str, np.ndarray]:
    arrays = {
        "row": np.array([row for row, _, _ in crops]),
        "high": np.stack([high for _, high, _ in crops]),
        "low": np.stack([low for _, _, low in crops]),
    }
    if teacher is not None:
        outputs = [teacher(torch.from_numpy(low)[None].float() / 255)[0] for _, _, low in crops]
        arrays["teacher"] = np.stack([(t * 255).round().byte().numpy() for t in outputs])
    return arrays


def write_shard(folder: Path, number: int, arrays: Mapping[str, np.ndarray]) -> None:
    """A shard, complete or not at all. Raises WeightsError where it cannot be written."""
    part = folder / f"{number:05d}.part"
    part.mkdir(exist_ok=True)
    try:
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array)
    except OSError as error:
        raise WeightsError(
            f"{part}: cannot be written ({error.strerror or error}); all other shards are whole",
            "make room, then run the same command again: it goes on from there",
        ) from error
    part.replace(folder / f"{number:05d}")


class PoolExamples(Dataset[Batch]):
    """Crops of `crop` HR pixels from the pool, flipped and turned at random; `teacher` among them
    where there is one. Keys as of `PhotoExamples`.

    Raises:
        UsageError: there is no pool yet.
    """

    def __init__(
        self,
        folder: Path,
        source: Source | None,
        config: PoolConfig,
        crop: int,
        seed: int,
        *,
        held: bool,
    ) -> None:
        shards = sorted(each for each in folder.glob("[0-9]*") if each.suffix == "")
        self.shards = shards[: config.held_out] if held else shards[config.held_out :]
        if not self.shards:
            raise UsageError(f"{folder}: there is no pool", "run `coser train teacher` first")
        if crop > config.size:
            raise UsageError(f"a crop of {crop} pixels is more than the pool's {config.size}")
        self.source, self.config, self.crop, self.seed = source, config, crop, seed

    def __len__(self) -> int:
        """Crops in an epoch."""
        return self.config.shard * len(self.shards)

    def __getitem__(self, number: int) -> Batch:
        epoch, position = divmod(number, len(self))
        index = int(epoch_order(len(self), self.seed, epoch)[position])
        shard, place = divmod(index, self.config.shard)
        arrays = read_shard(self.shards[shard])
        rng = np.random.default_rng((self.seed, 2, number))
        row = int(arrays["row"][place])
        source = None if row == NO_PICTURE else self.source
        caption = "" if source is None else as_sentence(source.pictures[row].caption or "")
        crops = self._cut({k: v[place] for k, v in arrays.items() if k != "row"}, rng)
        return {**crops, "caption": caption, "prompt": "", "row": row, **drawn(number, rng)}

    def _cut(self, pictures: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, Tensor]:
        scale = self.config.degradation.scale
        cells = self.crop // scale
        top, left = rng.integers(0, self.config.size // scale - cells + 1, 2)
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        cropped = {}
        for name, pixels in pictures.items():
            k = 1 if name == "low" else scale
            part = pixels[:, top * k : (top + cells) * k, left * k : (left + cells) * k]
            part = np.rot90(part[..., ::-1] if flip else part, turns, (1, 2))
            cropped[name] = torch.from_numpy(np.ascontiguousarray(part)).float() / 255
        return cropped


@lru_cache(maxsize=512)
def read_shard(folder: Path) -> dict[str, np.ndarray]:
    """A shard's arrays, mapped."""
    names = ("row", "high", "low", "teacher")
    files = {name: folder / f"{name}.npy" for name in names}
    return {name: np.load(file, mmap_mode="r") for name, file in files.items() if file.is_file()}
