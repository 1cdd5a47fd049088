"""Which mask, and which pictures of further conditions, belong to which input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coser_cli.batch.inputs import Source
from coser_cli.errors import InputError, UsageError, reason_of, shown


def masks_of(sources: Sequence[Source], mask: Path) -> list[Path]:
    """The mask of each source.

    A file is the mask of a single input, and read here. A folder has one for each input, by its
    stem, in the same sub-folder as the input in a tree; it fails its own input where it is missing
    or cannot be used. Raises `UsageError`.
    """
    from coser_cli.imageio.mask import read_mask

    return _files_of(sources, mask, "--mask", "mask", read_mask)


def conditions_of(
    sources: Sequence[Source], conditions: Mapping[str, Path]
) -> list[dict[str, Path]]:
    """The pictures of each source by the names of their conditions; files as in `masks_of`."""
    from coser_cli.imageio.read import read_photo

    files = {
        name: _files_of(sources, place, f"--condition {name}", name, read_photo)
        for name, place in conditions.items()
    }
    return [{name: each[index] for name, each in files.items()} for index in range(len(sources))]


def _files_of(
    sources: Sequence[Source], place: Path, option: str, word: str, read: Callable[[Path], Any]
) -> list[Path]:
    if place.is_dir():
        return [_of_stem(place / source.below, source.path.stem, word) for source in sources]
    count = len({source.path for source in sources})
    if count > 1:
        raise UsageError(
            f"{option} {shown(place)} is one file for {count} inputs",
            f"give a folder that has a {word} with the same stem for each",
        )
    try:
        read(place)
    except InputError as error:
        raise UsageError(f"{option}: {error.message}", error.hint) from None
    return [place] * len(sources)


def _of_stem(folder: Path, stem: str, word: str) -> Path:
    """The file of that stem in a folder; where there is none, the name that it would have."""
    try:
        files = sorted(each for each in folder.iterdir() if each.stem == stem and each.is_file())
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise UsageError(f"cannot read {shown(folder)}: {reason_of(error)}") from None
    if len(files) > 1:
        names = " and ".join(shown(each) for each in files[:2])
        raise UsageError(f"{names} are both {word}s of {stem}", "leave one in the folder")
    return files[0] if files else folder / f"{stem}.png"
