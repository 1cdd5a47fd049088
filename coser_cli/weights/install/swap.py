"""A folder built aside and swapped in whole: what was there before stays until the last step."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".install-"
STALE_SECONDS = 3600


@contextmanager
def temporary_folder(root: Path) -> Iterator[Path]:
    """A folder of its own below `root`, gone afterwards; leftovers of killed runs go first."""
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob(f"{PREFIX}*"):
        if _last_change(leftover) < time.time() - STALE_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _last_change(folder: Path) -> float:
    with suppress(OSError):
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return time.time()


def swap_in(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of `target`, by two renames.

    Raises OSError; `target` is then what it was. A process that is killed between the two renames
    leaves the former folder beside it, where `restore` finds it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    former = _former(target)
    if target.exists():
        shutil.rmtree(former, ignore_errors=True)
        target.rename(former)
    try:
        new.rename(target)
    except OSError:
        restore(target)
        raise
    sync(target.parent)
    shutil.rmtree(former, ignore_errors=True)


def restore(target: Path) -> None:
    """Put back what a swap that did not end took away from `target`."""
    if not target.exists() and _former(target).is_dir():
        _former(target).rename(target)


def _former(target: Path) -> Path:
    return target.with_name(f".{target.name}.former")


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk; folders only where they can be opened."""
    with suppress(PermissionError, IsADirectoryError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
