"""Makes LR pictures of HR ones, and a manifest from which they can be made again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coser_cli.errors import InputError, UsageError, shown, writing
from coser_cli.evaluation.pairs import write_png
from coser_cli.imageio.atomic import atomic_file
from coser_cli.imageio.read import read_photo

Degrade = Callable[[Tensor, np.random.Generator], Tensor]
"""`(3, H, W)` in [0, 1] → `(3, H/scale, W/scale)` in [0, 1]."""
MANIFEST = "manifest.json"
MANIFEST_TYPE, MANIFEST_VERSION = "coser-pairs", 1


@dataclass(frozen=True)
class MadePair:
    """A pair that has been written; sizes are (width, height)."""

    name: str
    source: str
    source_sha256: str
    reference_size: tuple[int, int]
    input_size: tuple[int, int]


@dataclass(frozen=True)
class PairMaker:
    """Cuts HR pictures to a multiple of `scale`, or to a square of `crop` pixels from the middle,
    and makes LR pictures of them.

    A picture's degradation follows from `seed` and its own name: it does not depend on what other
    pictures there are.
    """

    degrade: Degrade
    scale: int
    seed: int
    crop: int | None = None

    def make(self, source: Path, folder: Path) -> MadePair:
        """Write `HR/NAME.png` and `LR/NAME.png`, both or neither. Raises `InputError`."""
        high = self._cut(torch.from_numpy(read_photo(source).pixels), source)
        rng = np.random.default_rng([self.seed, *hashlib.sha256(source.stem.encode()).digest()])
        low = self.degrade(high, rng)
        name = f"{source.stem}.png"
        try:
            for kind, pixels in (("HR", high), ("LR", low)):
                write_png(folder / kind / name, pixels)
        except InputError:
            (folder / "HR" / name).unlink(missing_ok=True)
            raise
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        return MadePair(name, source.name, digest, _size(high), _size(low))

    def _cut(self, pixels: Tensor, source: Path) -> Tensor:
        """The part that is used, in 8 bits as it will be in the file."""
        height, width = pixels.shape[1:]
        wanted = self.crop or self.scale
        if min(height, width) < wanted:
            raise InputError(
                f"{shown(source)}: {width}×{height} pixels are less than {wanted}×{wanted}",
                "give a smaller --crop, or leave the picture out",
            )
        if self.crop:
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
            pixels = pixels[:, top : top + self.crop, left : left + self.crop]
        else:
            pixels = pixels[
                :, : height // self.scale * self.scale, : width // self.scale * self.scale
            ]
        return (pixels.clamp(0, 1) * 255).round() / 255


@contextmanager
def without_empty_folders(folder: Path) -> Iterator[None]:
    """Folders for the pairs that are made within it, and stay empty, are removed again."""
    wanted = (folder / "HR", folder / "LR", folder, *folder.parents)
    new = [each for each in wanted if not each.exists()]
    try:
        yield
    finally:
        for each in new:
            with suppress(OSError):  # not empty, or never made
                each.rmdir()


def require_distinct_names(sources: Sequence[Path]) -> None:
    """Raise `UsageError` where two pictures would become one name."""
    for stem, count in Counter(source.stem for source in sources).items():
        if count > 1:
            same = [shown(source.name) for source in sources if source.stem == stem]
            raise UsageError(f"{' and '.join(same)} would have the same name", "rename one of them")


def write_manifest(folder: Path, facts: Mapping[str, Any], pairs: Sequence[MadePair]) -> Path:
    """`manifest.json` with `facts` (recipe, scale, seed …) and the pairs. Raises `InputError`."""
    path = folder / MANIFEST
    head = {"type": MANIFEST_TYPE, "version": MANIFEST_VERSION}
    manifest = {**head, **facts, "pictures": [asdict(each) for each in pairs]}
    with writing(path, InputError, "check the folder and free space"), atomic_file(path) as file:
        file.write(json.dumps(manifest, indent=1).encode() + b"\n")
    return path


def _size(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[2], pixels.shape[1]
