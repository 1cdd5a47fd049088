"""Files that appear complete or not at all, and what remains where a process was killed."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

_PART = re.compile(r"\.coser-(\d+)-\d+\.part")
_part_numbers = itertools.count()


@contextmanager
def atomic_file(
    path: Path, before_it_appears: Callable[[BinaryIO], None] | None = None
) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well, and leaves no trace otherwise.

    `before_it_appears` is given the complete file. Its short name does not grow with the target's,
    which may already have the longest length.
    """
    part, descriptor = _new_part(path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            _lock(descriptor)
            yield file
            file.flush()
            if before_it_appears is not None:
                before_it_appears(file)
            os.fsync(file.fileno())
            os.replace(part, path)  # still locked: nobody takes it for a dead process's
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def remove_stale_parts(folder: Path) -> list[Path]:
    """Remove the unfinished files of processes that were killed; returns those removed.

    A part file has its process's number in its name, and is locked while it is written. It goes
    only where no such process runs and nobody holds the lock: the number alone would not do, since
    the process may run on another computer or in another container. Where there are no locks,
    deleting what is open fails by itself.
    """
    removed = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in list(entries):
            match = _PART.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False) and not _is_alive(int(match[1])):
                with suppress(OSError):
                    _remove_unlocked(Path(entry.path))
                    removed.append(Path(entry.path))
    return removed


def _new_part(folder: Path) -> tuple[Path, int]:
    """Another process that was killed may have had our number: then the name is taken."""
    # os.open gives 0666 & ~umask by itself; tempfile would give 0600.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        part = folder / f".coser-{os.getpid()}-{next(_part_numbers)}.part"
        with suppress(FileExistsError):
            return part, os.open(part, flags, 0o666)


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_unlocked(part: Path) -> None:
    """Raises OSError where somebody holds the lock."""
    with part.open("rb") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
            return
    part.unlink()


def _is_alive(process: int) -> bool:
    """Whether another process of that number runs; our own number may be that of a dead one."""
    if process == os.getpid() or os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
