"""What tells one installation from another: a server only serves commands of its own."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from coser_cli import version


@cache
def installation() -> str:
    """Digits that change with the program's version, place or code, with Python, and with torch.

    A command that another code answers could get other bytes than its own.
    """
    folder = Path(version.__file__).parent
    newest = _newest(str(folder))
    torch = find_spec("torch")  # imports nothing
    place = "" if torch is None else f"{torch.origin} {_changed(Path(torch.origin or ''))}"
    words = version.__version__, sys.version, sys.prefix, str(folder), str(newest), place
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _newest(folder: str) -> int:
    """When the module that was changed last was changed, in nanoseconds."""
    newest = 0
    for entry in os.scandir(folder):
        if entry.name.endswith(".py"):
            newest = max(newest, entry.stat().st_mtime_ns)
        elif entry.is_dir(follow_symlinks=False) and entry.name not in ("__pycache__", "assets"):
            newest = max(newest, _newest(entry.path))
    return newest


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
