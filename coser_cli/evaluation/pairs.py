"""Sets of pictures to be measured: true pictures, what was enlarged, and results of other tools.

Files belong together by their stems. What tools append to a name (`_4x`, `x4`, `-out`, `_SR` …)
and what data sets do (`_HR`, `_LR4`) is left out where a stem itself is not found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from coser_cli.errors import InputError, UsageError, reading, shown, writing
from coser_cli.evaluation.color import levels
from coser_cli.imageio.atomic import atomic_file
from coser_cli.imageio.read import read_photo
from coser_cli.imageio.sniff import PICTURE_SUFFIXES

_SUFFIX = re.compile(
    r"(?<=.)(?:[ _.-]?(?:x\d+(?:\.\d+)?|\d+(?:\.\d+)?x)"
    r"|[ _.-](?:hr|lr\d*|gt|sr|out|output|result|upscaled|enlarged|reference))$",
    re.IGNORECASE,
)
_SHOWN_NAMES = 3


@dataclass(frozen=True)
class Picture:
    """One picture of a set, by the stem of its true picture: true pixels and the low-resolution
    ones; either may be missing.
    """

    name: str
    reference: Path | None = None
    source: Path | None = None


@dataclass(frozen=True)
class PictureSet:
    """Pictures in the order of their names, and what to know about them."""

    name: str
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()


def read_pixels(path: Path) -> Tensor:
    """`(1, 3, H, W)` in [0, 1], upright. Raises `InputError`."""
    return torch.from_numpy(read_photo(path).pixels)[None].float()


def find_set(folder: Path) -> PictureSet:
    """A folder with `HR/`, and `LR/` or `LRx4/`. Raises `UsageError` where there are no pairs."""
    lows = [folder / name for name in ("LR", "LRx4") if (folder / name).is_dir()]
    if not lows or not (folder / "HR").is_dir():
        raise UsageError(
            f"{shown(folder)} has no HR/ and LR/ (or LRx4/)",
            "name a folder that has them, or give --reference and --input",
        )
    return set_of_folders(folder.name, folder / "HR", lows[0])


def set_of_folders(name: str, reference: Path | None, source: Path | None) -> PictureSet:
    """Of a folder with true pictures, one with low-resolution ones, or both: then of the pictures
    that are in both. Raises `UsageError`.
    """
    if reference is None or source is None:
        only = reference or source
        assert only is not None
        files = pictures_in(only)
        pairs = [(each, None) if source is None else (None, each) for each in files]
        return PictureSet(
            name, tuple(Picture(f.stem, *p) for f, p in zip(files, pairs, strict=True))
        )
    references = pictures_in(reference)
    sources = match(references, pictures_in(source))
    if not sources:
        raise UsageError(
            f"no picture in {shown(source)} has the name of one in {shown(reference)}",
            "files belong together by their names without extension",
        )
    pictures = tuple(
        Picture(each.stem, each, sources[each]) for each in references if each in sources
    )
    missing = [each.name for each in references if each not in sources]
    return PictureSet(name, pictures, left_out(missing, f"they are not in {source.name}/"))


def results_for(pictures: PictureSet, folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The result in a folder of each picture of a set, by the pictures' names, and notes.

    Raises `UsageError` where there is none, or where two fit one picture.
    """
    anchors = {each.reference or each.source: each for each in pictures.pictures}
    files = match([path for path in anchors if path is not None], pictures_in(folder))
    if not files:
        raise UsageError(
            f"no picture in {shown(folder)} has the name of one of {pictures.name}",
            "files belong together by their names without extension; suffixes such as _4x are"
            " understood",
        )
    results = {anchors[path].name: file for path, file in files.items()}
    missing = [each.name for each in pictures.pictures if each.name not in results]
    return results, left_out(missing, f"they are not in {folder.name}/")


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name. Raises `UsageError` where there are none."""
    with reading(folder, UsageError, "name a folder"):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise UsageError(f"there are no pictures in {shown(folder)}", "name another folder")
    return files


def match(anchors: Sequence[Path], files: Sequence[Path]) -> dict[Path, Path]:
    """The file that belongs to each anchor, by stem, else by stem without the usual suffixes.

    Raises `UsageError` where two files fit one anchor equally well.
    """
    matches: dict[Path, Path] = {}
    for key in (attrgetter("stem"), _plain):
        places: dict[str, list[Path]] = {}
        for file in files:
            places.setdefault(key(file), []).append(file)
        for anchor in anchors:
            fitting = places.get(key(anchor), [])
            if anchor in matches or not fitting:
                continue
            if len(fitting) > 1:
                names = " and ".join(shown(each.name) for each in fitting[:2])
                raise UsageError(
                    f"{names} in {shown(fitting[0].parent)} both fit {shown(anchor.name)}",
                    "leave one result per picture in the folder",
                )
            matches[anchor] = fitting[0]
    return matches


def _plain(path: Path) -> str:
    """The stem without what tools and data sets append."""
    stem, before = path.stem, ""
    while stem != before:
        before, stem = stem, _SUFFIX.sub("", stem)
    return stem.lower()


def left_out(names: Sequence[str], reason: str) -> tuple[str, ...]:
    """A note on pictures that are left out; none where none is."""
    if not names:
        return ()
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return (f"left out, as {reason}: {', '.join(names[:_SHOWN_NAMES])}{more}",)


def write_png(path: Path, pixels: Tensor) -> None:
    """Write `(3, H, W)` pixels in [0, 1] at 8 bits. Raises `InputError`."""
    with writing(path, InputError, "check the folder and free space"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            Image.fromarray(levels(pixels)).save(file, "PNG")
