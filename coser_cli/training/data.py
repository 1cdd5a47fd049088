"""Training pictures: folders of classes, a list with captions, or webdataset shards.

| what lies in the folder | caption | class |
|---|---|---|
| `captions.tsv` | column `label_or_caption` | column `class`, if there is one |
| `*.tar`, as webdataset writes them | `.txt` of the sample | `.cls` of the sample |
| pictures, in folders of classes or not | a `.txt` beside it, else the class's name | the folder |

Readable names of class folders may stand in `classes.tsv` (columns `folder`, `name`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from coser_cli.errors import UsageError, shown
from coser_cli.training.shards import Entry, read_index

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
SYNSET = re.compile(r"n\d{8}")
FACTORS, FACTOR_SHARES = (1.0, 0.75, 0.5), (0.35, 0.3, 0.35)
"""How far a picture is reduced before it is cut, and how often: it hides JPEG blocks and shows more
of the scene."""


@dataclass(frozen=True)
class Picture:
    """One picture, and what is known of it."""

    name: str
    caption: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Source:
    """Pictures, in files of their own below `root` or at their places in webdataset shards."""

    root: Path
    pictures: Sequence[Picture]
    entries: Sequence[Entry] | None = None

    def read(self, index: int) -> bytes:
        """The bytes of a picture's file."""
        if self.entries is not None:
            return self.entries[index].read()
        return (self.root / self.pictures[index].name).read_bytes()


def open_source(root: Path) -> Source:
    """The pictures of a folder, in an order that does not change.

    Raises:
        UsageError: the folder or its list cannot be understood, or holds no picture.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", "--data needs a folder with training pictures")
    if (root / "captions.tsv").is_file():
        return Source(root, _listed(root))
    shards = sorted(root.glob("*.tar"))
    if shards:
        entries = read_index(shards)
        pictures = [Picture(entry.name, entry.caption, entry.label) for entry in entries]
        return Source(root, _required(root, pictures), entries)
    return Source(root, _required(root, _below(root)))


def _required(root: Path, pictures: list[Picture]) -> list[Picture]:
    if not pictures:
        raise UsageError(f"{root}: there is no picture in it", "see `coser train --help`")
    return pictures


def _table(path: Path, columns: set[str]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not columns <= set(rows.fieldnames or ()):
            raise UsageError(f"{path}: the first line must name {' and '.join(sorted(columns))}")
        return list(rows)


def _listed(root: Path) -> list[Picture]:
    table = root / "captions.tsv"
    pictures = []
    for row in _table(table, {"file", "label_or_caption"}):
        if not (root / row["file"]).is_file():
            raise UsageError(f"{table}: no such picture: {root / row['file']}")
        caption, label = row["label_or_caption"] or "", row.get("class") or None
        pictures.append(Picture(row["file"], caption.strip() or None, label))
    if not pictures:
        raise UsageError(f"{table}: empty")
    return pictures


def _below(root: Path) -> list[Picture]:
    names = root / "classes.tsv"
    table = _table(names, {"folder", "name"}) if names.is_file() else []
    readable = {row["folder"]: row["name"] for row in table}
    files = (file for file in sorted(root.rglob("*")) if file.suffix.lower() in SUFFIXES)
    return [_of_file(root, file, readable) for file in files]


def _of_file(root: Path, file: Path, readable: dict[str, str]) -> Picture:
    place = file.relative_to(root)
    label = str(place.parent) if place.parent != Path() else None
    name = None if label is None else readable.get(label, place.parent.name.replace("_", " "))
    text = file.with_suffix(".txt")
    if text.is_file():
        caption = text.read_text(encoding="utf-8").strip() or None
    else:
        caption = None if name is None or SYNSET.fullmatch(name) else name
    return Picture(str(place), caption, label)


def require_captions(source: Source, root: Path) -> None:
    """Raises UsageError, which counts them, where pictures have no caption."""
    without = [picture.name for picture in source.pictures if picture.caption is None]
    if without:
        raise UsageError(
            f"{root}: {len(without)} of {len(source.pictures)} pictures have no caption, the first"
            f" of them {shown(without[0])}",
            "write captions.tsv, or a .txt beside each picture, or classes.tsv for class folders",
        )


def as_sentence(caption: str) -> str:
    """A caption as it is; a bare class name as "a photo of ..." (paper, sec. 4.1)."""
    words = caption.strip()
    return words if len(words.split()) > 3 else f"a photo of {words}"


def split_rows(source: Source, one_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the pictures to train on, and of those held out: about one in `one_in` (0: none),
    chosen by name, so that it stays held out when others are added."""
    names = [Path(picture.name).name for picture in source.pictures]
    digests = [int(hashlib.md5(name.encode()).hexdigest(), 16) for name in names]
    held = np.array([bool(one_in) and digest % one_in == 0 for digest in digests], bool)
    rows = np.arange(len(names))
    if held.all():
        raise UsageError("every picture is held out", "set held_out in [data] higher, or to 0")
    return rows[~held], rows[held]


class Siblings:
    """For each picture the others of its class: what the paper trains references with.

    Raises:
        UsageError: a picture has no class, or its class no other picture.
    """

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        self.groups: dict[str, list[int]] = defaultdict(list)
        self.labels = [picture.label for picture in source.pictures]
        for row in rows:
            label = self.labels[row]
            if label is None:
                raise UsageError(
                    f"{shown(source.pictures[row].name)} has no class, and a reference is another"
                    " picture of the same class",
                    'put pictures into folders of classes, or set references = "same_picture"',
                )
            self.groups[label].append(int(row))
        alone = [label for label, group in self.groups.items() if len(group) < 2]
        if alone:
            raise UsageError(
                f"class {shown(alone[0])} has a single picture, and a reference is another one of"
                f" the same class ({len(alone)} such classes)",
                'add pictures, or set references = "same_picture"',
            )

    def choose(self, row: int, rng: np.random.Generator) -> int:
        """Another picture of the class, at random."""
        group = self.groups[str(self.labels[row])]
        position = group.index(row)
        return group[(position + 1 + int(rng.integers(len(group) - 1))) % len(group)]


def read_image(source: Source, index: int) -> Image.Image:
    """A picture in RGB. Raises UsageError, which names it, where it cannot be read."""
    name = shown(source.pictures[index].name)
    try:
        with Image.open(io.BytesIO(source.read(index))) as file:
            return file.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise UsageError(f"{name}: cannot be read ({error})", "take it out of --data") from error


def cut(image: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random `(3, size, size)` uint8 crop of the picture, reduced first by one of `FACTORS` where
    it is large enough; a picture that is too small is enlarged."""
    factor = float(rng.choice(FACTORS, p=FACTOR_SHARES))
    shortest = min(image.size)
    factor = max(factor, min(1.0, size / shortest)) if shortest >= size else size / shortest
    side = min(shortest, int(np.ceil(size / factor)))
    left, top = (int(rng.integers(0, whole - side + 1)) for whole in image.size)
    box = (left, top, left + side, top + side)
    crop = image.crop(box)
    if side != size:
        crop = crop.resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(crop)
    flipped = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    return np.ascontiguousarray(flipped.transpose(2, 0, 1))
