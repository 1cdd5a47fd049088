"""A folder built aside and swapped in whole: what was there before stays until the last step."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".install-"
STALE_SECONDS = 3600
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


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
    """Put the folder `new` in the place of `target`, in one step where the system can.

    What `target` was lies at `new` or beside it afterwards. Raises OSError; `target` is then what
    it was. Where there is no such step, `target` is away for a moment between two renames.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        old = new.with_name(f"{new.name}.old")
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    sync(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE; False where it does not exist or is not supported."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(first), os.fsencode(second)
        done = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
        return bool(done == 0)
    return False


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk; folders only where they can be opened."""
    with suppress(PermissionError, IsADirectoryError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
