"""Names and paths that are too long for their file system."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from coser_cli.errors import InputError, shown
from coser_cli.paths import RECORDS_FOLDER

WINDOWS_NAME_MAX = 255
"""UTF-16 units of a name, where the system cannot be asked."""
_BESIDE = len(f"{RECORDS_FOLDER}/.coser-{sys.maxsize}-{999_999}.part")
"""Bytes of the longest path, from the result's folder, of a file that is there while it is written,
or of its record.
"""


def require_short(path: Path) -> None:
    """Raise `InputError` where the name of a file, or its path, is longer than its place allows.

    Neither the file nor its folder need exist. On POSIX systems bytes count, not characters.
    """
    for part in (path, *path.parents):
        length, limit = _length(part.name), _limit(part.parent, "PC_NAME_MAX", WINDOWS_NAME_MAX)
        if limit is not None and length > limit:
            what = "its name" if part is path else f"the name of the folder {shown(part)}"
            raise _too_long(
                path, f"{what} is too long: {length} bytes", limit, is_name=part is path
            )
    length = _length(str(path.parent)) + 1 + max(_length(path.name), _BESIDE)
    limit = _limit(path.parent, "PC_PATH_MAX", None)
    if limit is not None and length >= limit:  # which counts the zero at the end
        words = f"with the files that are needed beside it its path is too long: {length} bytes"
        raise _too_long(path, words, limit - 1, is_name=False)
    try:
        path.lstat()
    except OSError as error:  # some file systems have other limits than they say
        if error.errno == errno.ENAMETOOLONG:
            raise _too_long(path, "its name or path is too long", None, is_name=True) from None


def is_short(path: Path) -> bool:
    """Whether a file or folder of this path could be there."""
    try:
        require_short(path)
    except InputError:
        return False
    return True


def _too_long(path: Path, words: str, limit: int | None, *, is_name: bool) -> InputError:
    most = "" if limit is None else f", and at most {limit} are possible"
    hint = (
        "give a shorter one, as in --name '{index:04d}{ext}' or with -o"
        if is_name
        else "name a folder with a shorter path with -o"
    )
    return InputError(f"cannot write {shown(path)}: {words}{most}", hint)


def _length(text: str) -> int:
    if os.name == "nt":
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    return len(os.fsencode(text))


def _limit(folder: Path, name: str, default: int | None) -> int | None:
    """A limit of the file system on which a folder lies, or will; None where there is none."""
    if not hasattr(os, "pathconf"):
        return default
    for place in (folder, *folder.parents):
        try:
            limit = os.pathconf(place, name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                continue  # it will be made, or is refused for its own length
            return default
        except ValueError:  # a name that no system can have
            return default
        return None if limit < 0 else limit
    return default
