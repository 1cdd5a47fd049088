"""Which mask belongs to which input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coser_cli.batch.inputs import Source
from coser_cli.errors import InputError, UsageError, reason_of, shown


def masks_of(sources: Sequence[Source], mask: Path) -> list[Path]:
    """The mask of each source.

    A file is the mask of a single input, and read here. A folder has one for each input, by its
    stem, in the same sub-folder as the input in a tree; it fails its own input where it is missing
    or cannot be used. Raises `UsageError`.
    """
    if mask.is_dir():
        return [_of_stem(mask / source.below, source.path.stem) for source in sources]
    count = len({source.path for source in sources})
    if count > 1:
        raise UsageError(
            f"--mask {shown(mask)} is one file for {count} inputs",
            "give a folder that has a mask with the same stem for each",
        )
    from coser_cli.imageio.mask import read_mask

    try:
        read_mask(mask)
    except InputError as error:
        raise UsageError(f"--mask: {error.message}", error.hint) from None
    return [mask] * len(sources)


def _of_stem(folder: Path, stem: str) -> Path:
    """The mask of that stem in a folder; where there is none, the name that it would have."""
    try:
        masks = sorted(each for each in folder.iterdir() if each.stem == stem and each.is_file())
    except FileNotFoundError:
        masks = []
    except OSError as error:
        raise UsageError(f"cannot read {shown(folder)}: {reason_of(error)}") from None
    if len(masks) > 1:
        names = " and ".join(shown(each) for each in masks[:2])
        raise UsageError(f"{names} are both masks of {stem}", "leave one in the folder")
    return masks[0] if masks else folder / f"{stem}.png"
