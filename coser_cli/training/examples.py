"""Training examples by number, the same ones for any number of processes.

Example n of a sequence depends on (seed, n) only: which picture, which crop, which degradation,
which noise. An optimiser's step takes the next `batch` of them; each process takes its share. So a
run may be stopped, and continued by another number of processes, on the very same examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from coser_cli.errors import UsageError
from coser_cli.training.data import Siblings, Source, as_sentence, cut, read_image
from coser_cli.training.degradation import DegradationConfig, degrade

Batch = dict[str, Any]
REFERENCES = ("same_class", "same_picture")
HELD_OUT_SEED = 1_000_003
"""Held-out examples are of a sequence of their own."""


@dataclass(frozen=True)
class ExampleConfig:
    """`crop`: side of the HR crops in pixels. `references`: "same_class", "same_picture" (another
    crop of it) or "" for none. `prompt_share` of the captions are kept, the others emptied."""

    crop: int = 512
    seed: int = 0
    references: str = ""
    prompt_share: float = 0.5
    degradation: DegradationConfig = field(default_factory=DegradationConfig)

    def __post_init__(self) -> None:
        if self.references and self.references not in REFERENCES:
            known = " and ".join(REFERENCES)
            raise UsageError(f"references = {self.references!r} is unknown", f"there are {known}")


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` pictures in an epoch."""
    return np.random.default_rng((seed, 1, epoch)).permutation(count)


class PhotoExamples(Dataset[Batch]):
    """Examples cut from pictures as they are asked for.

    `high` `(3, S, S)`, `low` `(3, S/4, S/4)` in [0, 1]; `reference` `(3, S, S)` where wanted;
    `caption` (a sentence), `prompt` (the caption or ""), `row` (the picture's number), and what
    `drawn` gives.
    """

    def __init__(self, source: Source, rows: np.ndarray, config: ExampleConfig) -> None:
        self.source, self.rows, self.config = source, rows, config
        same_class = config.references == "same_class"
        self.siblings = Siblings(source, rows) if same_class else None

    def __len__(self) -> int:
        """Pictures in an epoch."""
        return len(self.rows)

    def __getitem__(self, number: int) -> Batch:
        config = self.config
        epoch, position = divmod(number, len(self.rows))
        row = int(self.rows[epoch_order(len(self.rows), config.seed, epoch)[position]])
        rng = np.random.default_rng((config.seed, 2, number))
        image = read_image(self.source, row)
        high = torch.from_numpy(cut(image, config.crop, rng)).float() / 255
        caption = as_sentence(self.source.pictures[row].caption or "")
        example = {
            "high": high,
            "low": degrade(high, config.degradation, rng).clamp(0, 1),
            "caption": caption,
            "prompt": caption if rng.random() < config.prompt_share else "",
            "row": row,
            **drawn(number, rng),
        }
        if config.references:
            other = self.siblings.choose(row, rng) if self.siblings else row
            image = image if other == row else read_image(self.source, other)
            example["reference"] = torch.from_numpy(cut(image, config.crop, rng)).float() / 255
        return example


def drawn(number: int, rng: np.random.Generator) -> Batch:
    """What every example carries beside its pictures: its `number`, the `seed` of its noise, and
    `uniform` in [0, 1) for the timestep."""
    return {"number": number, "seed": int(rng.integers(2**62)), "uniform": float(rng.random())}


@dataclass(frozen=True)
class Share:
    """This process's part of each step: `world` processes, `accumulation` passes each."""

    batch: int
    rank: int = 0
    world: int = 1
    accumulation: int = 1

    def __post_init__(self) -> None:
        if self.batch % (self.world * self.accumulation):
            raise UsageError(
                f"a batch of {self.batch} cannot be shared by {self.world} processes in"
                f" {self.accumulation} passes",
                "make batch a multiple of their product",
            )

    def numbers(self, step: int, index: int) -> Sequence[int]:
        """Examples of pass `index` of a step."""
        count = self.batch // (self.world * self.accumulation)
        first = step * self.batch + (index * self.world + self.rank) * count
        return range(first, first + count)

    def passes(self, first_step: int) -> Iterator[list[int]]:
        """The passes from a step on, without end."""
        step = first_step
        while True:
            for index in range(self.accumulation):
                yield list(self.numbers(step, index))
            step += 1


def load(examples: Dataset[Batch], share: Share, first_step: int, workers: int) -> Iterator[Batch]:
    """Batches of this process, one per pass, made by `workers` processes ahead of time."""
    loader = DataLoader(
        examples,
        batch_sampler=_Numbers(share, first_step),  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=_one_thread if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


class _Numbers:
    """What a DataLoader takes for a sampler of batches."""

    def __init__(self, share: Share, first_step: int) -> None:
        self.share, self.first_step = share, first_step

    def __iter__(self) -> Iterator[list[int]]:
        return self.share.passes(self.first_step)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device, pictures in channels-last order."""
    return {name: _placed(value, device) for name, value in batch.items()}


def _placed(value: Any, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.to(device, non_blocking=True)
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def noise_of(batch: Batch, like: Tensor) -> Tensor:
    """Gaussian noise `(B, ...)` of the examples' seeds, drawn on the CPU: the same on any device,
    in any batch."""
    if like.is_meta:
        return torch.empty_like(like)
    generators = [torch.Generator().manual_seed(int(seed)) for seed in batch["seed"]]
    drawn = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
    return torch.stack(drawn).to(like)
